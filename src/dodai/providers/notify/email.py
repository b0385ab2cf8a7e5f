"""E-mail through the mail server of the team."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from email.utils import make_msgid

from dodai.core.dataclass import dataclass
from dodai.observability.ports import Message

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Email:
    """Told when the server took it. STARTTLS where the server offers it."""

    smtp: str
    sender: str
    to: tuple[str, ...]

    def send(self, message: Message) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, ", ".join(self.to), message.title
        mail["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2] or None)
        mail.set_content(message.text)
        host, _, port = self.smtp.rpartition(":")
        try:
            with smtplib.SMTP(host or self.smtp, int(port) if host else 25, timeout=TIMEOUT_S) as server:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls()
                refused = server.send_message(mail)
        except smtplib.SMTPException as error:
            raise OSError(f"the mail server refused: {error}") from error
        if refused:
            raise OSError(f"the mail server refused {', '.join(refused)}")
