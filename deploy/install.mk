# make install    put portreeve on this machine: program, manual pages, systemd units, configuration file
# make uninstall  stop it, remove its firewall rules and what make install has put there
#
# PREFIX is /usr/local, or /usr for packages. With DESTDIR files are put below that folder and nothing else is
# done. BINARY is the program to install: "make" builds it.

PREFIX  ?= /usr/local
BINARY  ?= build/portreeve
INSTALL ?= install

# systemd looks below /usr/lib and /usr/local/lib and in no other prefix.
systemd_lib = $(DESTDIR)$(if $(filter /usr,$(PREFIX)),/usr,/usr/local)/lib
units       = $(systemd_lib)/systemd/system
sysusers    = $(systemd_lib)/sysusers.d
tmpfiles    = $(systemd_lib)/tmpfiles.d
bin         = $(DESTDIR)$(PREFIX)/bin
man         = $(DESTDIR)$(PREFIX)/share/man
etc         = $(DESTDIR)/etc/portreeve

.PHONY: install uninstall

# An existing configuration file is the owner's.
install: $(BINARY)
	$(INSTALL) -d $(bin) $(units) $(sysusers) $(tmpfiles) $(man)/man8 $(man)/man5 $(etc)
	$(INSTALL) -m 0755 $(BINARY) $(bin)/portreeve
	$(INSTALL) -m 0644 deploy/man/portreeve.8 $(man)/man8/
	$(INSTALL) -m 0644 deploy/man/portreeve.toml.5 $(man)/man5/
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,' deploy/systemd/portreeve.service >$(units)/portreeve.service
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,' deploy/systemd/portreeve-cleanup.service >$(units)/portreeve-cleanup.service
	chmod 0644 $(units)/portreeve.service $(units)/portreeve-cleanup.service
	$(INSTALL) -m 0644 deploy/systemd/sysusers.conf $(sysusers)/portreeve.conf
	$(INSTALL) -m 0644 deploy/systemd/tmpfiles.conf $(tmpfiles)/portreeve.conf
	test -e $(etc)/portreeve.toml || $(INSTALL) -m 0644 config/reference.toml $(etc)/portreeve.toml
ifeq ($(DESTDIR),)
	systemd-sysusers $(sysusers)/portreeve.conf
	systemd-tmpfiles --create $(tmpfiles)/portreeve.conf
	systemctl daemon-reload
	@echo
	@echo 'Installed, not started. To start it now and at every boot:'
	@echo
	@echo '    systemctl enable --now portreeve'
	@echo
	@echo 'If it was running before: systemctl restart portreeve'
endif

$(BINARY):
	$(MAKE) build

# The daemon removes its rules when it is stopped; cleanup is for one that has died. A program that is not there
# cannot be asked to.
uninstall:
ifeq ($(DESTDIR),)
	if systemctl cat portreeve.service >/dev/null 2>&1; then systemctl disable --now portreeve.service; fi
	if [ -x $(bin)/portreeve ]; then $(bin)/portreeve cleanup --config /dev/null; fi
	if [ -e /run/xtables.lock ]; then chown root:root /run/xtables.lock && chmod 0600 /run/xtables.lock; fi
endif
	rm -f $(bin)/portreeve $(man)/man8/portreeve.8 $(man)/man5/portreeve.toml.5
	rm -f $(units)/portreeve.service $(units)/portreeve-cleanup.service
	rm -f $(sysusers)/portreeve.conf $(tmpfiles)/portreeve.conf
ifeq ($(DESTDIR),)
	systemctl daemon-reload
	@echo
	@echo 'Removed. Your configuration, the leases and the user portreeve were kept. To remove them too:'
	@echo
	@echo '    rm -r /etc/portreeve /var/lib/portreeve; userdel portreeve'
endif
