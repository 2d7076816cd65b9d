package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/notify"
)

// backupFormat and backupVersion are what a backup says of itself. A change that an older portreeve would misread raises
// the version.
const (
	backupFormat  = "portreeve backup"
	backupVersion = 1
)

// maxBackup is more than the largest backup needs: 256 devices, 128 rules of the policy, some hundred forwards.
const maxBackup = 2 << 20

// Backup is everything that the owner has set while the program runs. What the configuration file sets is not in it, nor
// are leases, which devices ask for again by themselves, sessions and tokens.
type Backup struct {
	Format  string         `json:"format"`  // "portreeve backup"
	Version int            `json:"version"` // 1
	Made    string         `json:"made"`    // RFC 3339
	By      string         `json:"by"`      // the version of portreeve
	Rules   []RuleSettings `json:"rules"`
	Policy  PolicySettings `json:"policy"`
	Devices []BackupDevice `json:"devices"`
	Users   []BackupUser   `json:"users"`

	Notifications NotificationSettings `json:"notifications"` // with its secrets only if that was asked for
}

// BackupDevice is what was set of a device.
type BackupDevice struct {
	MAC      string         `json:"mac"` // or "new"
	Settings DeviceSettings `json:"settings"`
}

// BackupUser is an account. The hash lets nobody in, but lets guess at leisure: a backup is to be kept like a password.
type BackupUser struct {
	Name         string `json:"name"`
	Role         Role   `json:"role"`
	PasswordHash string `json:"password_hash"`
}

// Restored answers POST backup.
type Restored struct {
	DryRun  bool     `json:"dry_run"` // nothing has changed
	Added   []string `json:"added"`   // what is there now and was not, or was another, for people
	Removed []string `json:"removed"` // what was there and is not any more
	Failed  []string `json:"failed"`  // what could not be restored, and why; all else was
}

func (s *Server) backupRoutes(by access) []route {
	return []route{
		{http.MethodGet, "/backup", RoleAdmin, AreaSystem, "", nil, s.getBackup},
		{http.MethodPost, "/backup", RoleAdmin, AreaSystem, "backup.restore", nil, s.postBackup(by.origin)},
	}
}

func (s *Server) getBackup(w http.ResponseWriter, r *http.Request) error {
	secrets, err := flag(r, "secrets")
	if err != nil {
		return err
	}
	what := ""
	if secrets {
		what = "with the secrets of notifications"
	}
	// It holds the hashes of all passwords, so that somebody has taken it is worth an entry.
	s.audit.add(r.Context(), identityOf(r), "backup.take", "", "", what)
	v := s.look()
	b := Backup{
		Format: backupFormat, Version: backupVersion, Made: v.now.Format(time.RFC3339), By: v.status.Version,
		Rules: []RuleSettings{}, Policy: policySettingsOf(v.Own), Devices: []BackupDevice{}, Users: []BackupUser{},
	}
	for _, rule := range v.ownRules() {
		b.Rules = append(b.Rules, settingsOf(rule.Rule))
	}
	for i := range b.Policy.Rules {
		b.Policy.Rules[i].ID = "" // it would be that of no rule when they are restored
	}
	for _, mac := range slices.Sorted(maps.Keys(v.Own.Devices)) {
		b.Devices = append(b.Devices, BackupDevice{mac, deviceSettingsOf(v.Own.Devices[mac])})
	}
	for _, u := range s.owner.list() {
		b.Users = append(b.Users, BackupUser{u.name, u.role, u.hash})
	}
	if b.Notifications = notificationSettingsOf(s.Notify.Settings()); secrets {
		b.Notifications.reveal(s.Notify.Settings())
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="portreeve-backup.json"`)
	_, _ = w.Write(append(text, '\n')) // fails only if the other end has gone
	return nil
}

// ownRules are the rules that are not the configuration file's.
func (v view) ownRules() (own []lease.RuleState) {
	for _, r := range v.Rules {
		if r.Origin != lease.OriginConfig {
			own = append(own, r)
		}
	}
	return own
}

// backupBody is [Backup] as it comes: what is wrong with one part shall not hide what is wrong with the next.
type backupBody struct {
	Format  string            `json:"format"`
	Version uint64            `json:"version"`
	Made    string            `json:"made"`
	By      string            `json:"by"`
	Rules   []json.RawMessage `json:"rules"`
	Policy  json.RawMessage   `json:"policy"`
	Devices []json.RawMessage `json:"devices"`
	Users   []json.RawMessage `json:"users"`

	Notifications json.RawMessage `json:"notifications"`
}

// restoration is a backup that has been understood. What is nil was not in it, and stays as it is.
type restoration struct {
	rules   []lease.Rule
	policy  *lease.OwnPolicy
	devices map[string]lease.Device
	users   []user
	notify  *notify.Settings
	lost    []lostSecret // secrets of targets that are neither in the backup nor here
}

// backup reads a backup, wholly or not at all.
func (r *reader) backup(b backupBody, file lease.Policy, told notify.Settings) (out restoration) {
	if b.Format != backupFormat {
		r.add("format", "is %q, allowed is %q", lease.CleanText(b.Format, maxName), backupFormat)
		return out
	}
	if b.Version != backupVersion {
		r.add("version", "is %d, allowed is %d: use the portreeve that has made the backup, or a newer one", b.Version, backupVersion)
		return out
	}
	if b.Rules != nil {
		out.rules = []lease.Rule{}
	}
	for i, raw := range b.Rules {
		settings := newRuleSettings()
		r.element(fmt.Sprintf("rules[%d]", i), raw, &settings, func(r *reader) {
			if ends, err := time.Parse(time.RFC3339, settings.Until); err == nil && !r.now.Before(ends) {
				return // it has ended meanwhile, and is of no use any more
			}
			out.rules = append(out.rules, r.rule(settings))
		})
	}
	if b.Policy != nil {
		var body policyBody
		r.element("policy", b.Policy, &body, func(r *reader) {
			own := r.policy(body, file)
			out.policy = &own
		})
	}
	if b.Devices != nil {
		out.devices = map[string]lease.Device{}
	}
	for i, raw := range r.few("devices", b.Devices, lease.MaxDevices) {
		r.backupDevice(fmt.Sprintf("devices[%d]", i), raw, out.devices)
	}
	out.users = r.backupUsers(b.Users)
	if b.Notifications != nil {
		body := newNotificationBody()
		r.element("notifications", b.Notifications, &body, func(r *reader) {
			next, lost := r.notifications(body, told)
			out.notify, out.lost = &next, lost
		})
	}
	return out
}

func (r *reader) backupDevice(name string, raw json.RawMessage, into map[string]lease.Device) {
	var body struct {
		MAC      string          `json:"mac"`
		Settings json.RawMessage `json:"settings"`
	}
	r.element(name, raw, &body, func(r *reader) {
		settings := newDeviceSettings()
		r.element("settings", body.Settings, &settings, func(r *reader) {
			d := r.deviceSettings(settings)
			d.MAC = deviceID(body.MAC)
			into[d.MAC] = d
		})
		if deviceID(body.MAC) == "" {
			r.add("mac", "is %q, allowed is a MAC address, or %s", lease.CleanText(body.MAC, maxName), lease.NewDevices)
		}
	})
}

func (r *reader) backupUsers(all []json.RawMessage) (users []user) {
	admin := false
	for i, raw := range r.few("users", all, maxUsers) {
		var body BackupUser
		r.element(fmt.Sprintf("users[%d]", i), raw, &body, func(r *reader) {
			if err := checkUserName(body.Name); err != nil {
				r.faults = append(r.faults, problemOf(err).Faults...)
			}
			r.role(body.Role, false)
			if err := checkHash(body.PasswordHash); err != nil {
				r.add("password_hash", "cannot be used: %v", err)
			}
			if slices.ContainsFunc(users, func(u user) bool { return u.name == body.Name }) {
				r.add("name", "is %q, which is that of another account", body.Name)
			}
			admin = admin || body.Role == RoleAdmin
			users = append(users, user{name: body.Name, role: body.Role, hash: body.PasswordHash})
		})
	}
	if len(all) > 0 && !admin && !r.has("users") {
		r.add("users", "has nobody with the role %s, allowed are lists in which somebody may set accounts", RoleAdmin)
	}
	return users
}

// postBackup makes what the owner has set equal to a backup. It is understood wholly before anything changes; what cannot be
// done then, because this router is another one, is told, and the rest is done.
func (s *Server) postBackup(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		var body backupBody
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		read := s.reader(wrong)
		wanted := read.backup(body, s.Policy, s.Notify.Settings())
		if err := read.problem(); err != nil {
			return err
		}
		t := &restorer{s, r, origin, Restored{DryRun: dry, Added: []string{}, Removed: []string{}, Failed: []string{}}}
		t.rules(wanted.rules)
		t.policy(wanted.policy)
		t.devices(wanted.devices)
		t.notifications(wanted.notify, wanted.lost)
		t.users(wanted.users, identityOf(r).session)
		return writeJSON(w, t.Restored)
	}
}

// restorer makes parts of a restoration so, and notes what has become of them.
type restorer struct {
	s  *Server
	r  *http.Request
	by lease.Origin
	Restored
}

// did notes what has been done, or why it could not.
func (t *restorer) did(list *[]string, what string, err error) {
	if err != nil {
		t.Failed = append(t.Failed, what+": "+problemOf(err).Detail)
		return
	}
	*list = append(*list, what)
}

// rules removes those that are not in the backup, and adds those that are in it only. The others go on without a break.
func (t *restorer) rules(wanted []lease.Rule) {
	if wanted == nil {
		return
	}
	here := t.s.look().ownRules()
	same := func(a, b lease.Rule) bool { return reflect.DeepEqual(settingsOf(a), settingsOf(b)) }
	o := lease.RuleOptions{By: t.by, TakeOver: true}
	for _, old := range here {
		if slices.ContainsFunc(wanted, func(r lease.Rule) bool { return same(r, old.Rule) }) {
			continue
		}
		var err error
		if !t.DryRun {
			_, err = t.s.Leases.RemoveRule(t.r.Context(), old.ID, o)
		}
		t.did(&t.Removed, "rule "+old.Name+" "+old.String(), err)
	}
	for _, r := range wanted {
		if slices.ContainsFunc(here, func(old lease.RuleState) bool { return same(r, old.Rule) }) {
			continue
		}
		var err error
		if !t.DryRun {
			_, err = t.s.Leases.PutRule(t.r.Context(), r, o)
		}
		t.did(&t.Added, "rule "+r.Name+" "+r.String(), err)
	}
}

func (t *restorer) policy(wanted *lease.OwnPolicy) {
	if wanted == nil {
		return
	}
	before := policySettingsOf(t.s.look().Own)
	for i := range before.Rules {
		before.Rules[i].ID = ""
	}
	if reflect.DeepEqual(before, policySettingsOf(*wanted)) {
		return
	}
	_, err := t.s.Leases.SetPolicy(t.r.Context(), *wanted, lease.PolicyOptions{By: t.by, DryRun: t.DryRun})
	t.did(&t.Added, "policy", err)
}

func (t *restorer) devices(wanted map[string]lease.Device) {
	if wanted == nil {
		return
	}
	here := t.s.look().Own.Devices
	o := lease.DeviceOptions{By: t.by, DryRun: t.DryRun}
	for _, mac := range slices.Sorted(maps.Keys(here)) {
		if _, stays := wanted[mac]; !stays {
			_, err := t.s.Leases.ForgetDevice(t.r.Context(), mac, o)
			t.did(&t.Removed, "device "+mac, err)
		}
	}
	for _, mac := range slices.Sorted(maps.Keys(wanted)) {
		if old, ok := here[mac]; ok && reflect.DeepEqual(deviceSettingsOf(old), deviceSettingsOf(wanted[mac])) {
			continue
		}
		_, err := t.s.Leases.SetDevice(t.r.Context(), wanted[mac], o)
		t.did(&t.Added, "device "+mac, err)
	}
}

// notifications sets where news goes. What is missing of it is told, so that nobody waits for messages in vain.
func (t *restorer) notifications(wanted *notify.Settings, lost []lostSecret) {
	if wanted == nil {
		return
	}
	here := t.s.Notify.Settings()
	if wanted.Version = here.Version; reflect.DeepEqual(*wanted, here) {
		return
	}
	var err error
	if !t.DryRun {
		_, err = t.s.Notify.Set(t.r.Context(), *wanted, here.Version)
	}
	t.did(&t.Added, "notifications", err)
	for _, one := range lost {
		t.Failed = append(t.Failed, fmt.Sprintf("notifications: the %s of %s is not in the backup: set it again", one.name, one.id))
	}
}

// users replaces the accounts. Sessions of accounts that are gone or have another password end.
func (t *restorer) users(wanted []user, kept string) {
	if len(wanted) == 0 {
		return
	}
	added, removed, err := t.s.owner.replaceUsers(t.r.Context(), wanted, t.DryRun, kept)
	for _, name := range removed {
		t.did(&t.Removed, "account "+name, err)
	}
	for _, name := range added {
		t.did(&t.Added, "account "+name, err)
	}
}
