"""A real mail server (aiosmtpd, of Debian) that prints what it accepts, a JSON object a line.

	mailserver.py tls|starttls|none CERTIFICATE KEY

The first line that it prints is its port. It knows one user, "me" with the password "geheim", and refuses the addressee
nobody@example.net.
"""

import asyncio
import base64
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

security, certificate, key = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == "nobody@example.net":
            return "550 5.1.1 there is nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "hello": session.host_name, "authenticated": session.authenticated,
            "encrypted": session.ssl is not None or security == "tls", "data": base64.b64encode(envelope.content).decode(),
        }), flush=True)
        return "250 2.0.0 queued"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(handled=False, success=mechanism == "PLAIN" and data.login == b"me" and data.password == b"geheim")


async def main():
    def session():
        return SMTP(Handler(), authenticator=authenticate, auth_require_tls=security == "starttls",
                    tls_context=context if security == "starttls" else None)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=context if security == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
