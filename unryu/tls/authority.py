"""What signs: the cloud's two authorities, keys, and the files that hold an identity."""

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import Field as Setting

from unryu import tls
from unryu.config import Settings, state_dir
from unryu.errors import BadRequest, Unavailable
from unryu.files import private_folder, write_private

SERVICES, HOSTS, WEB = "services", "hosts", "web"
SKEW = timedelta(days=1)  # how far behind another machine's clock may be, or ours when somebody sets it right
CENTURY = 3650 * 86400.0  # seconds an authority lives: ten years; docs/deploy.md says how it is followed by another


class TlsSettings(Settings):
    section: ClassVar[str] = "tls"
    folder: str = Setting("", description="folder of certificates and keys; empty: $STATE/secrets/tls")
    lifetime: float = Setting(30 * 86400, ge=3, description="seconds a certificate lives; renewed at two thirds")


def home() -> Path:
    """The folder of this cloud, or of this machine's part of it."""
    return Path(TlsSettings.read().folder or state_dir() / "secrets" / "tls")


def certificate(folder: Path, authority: str) -> Path:
    return folder / f"{authority}-ca.pem"


class Authority:
    """One of the two; whoever has its key may say who is who."""

    def __init__(self, folder: Path, name: str) -> None:
        # With a successor the file holds both; the first one is ours, which signs.
        self.certificate = x509.load_pem_x509_certificates(certificate(folder, name).read_bytes())[0]
        self._key = _key((folder / f"{name}-ca.key").read_text())
        if self._key.public_key() != self.certificate.public_key():  # its successor's moment is now
            raise Unavailable(f"The key in {folder}/{name}-ca.key is not that of the first certificate in {name}-ca.pem.")

    @classmethod
    def make(cls, folder: Path, name: str) -> None:
        """Unless it is there."""
        if (folder / f"{name}-ca.key").exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"unryu {name} {secrets.token_hex(4)}")])
        made = _builder(title, title, key.public_key(), CENTURY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(
            x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                          key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False),
            critical=True).sign(key, hashes.SHA256())
        write_private(certificate(folder, name), _pem(made))
        write_private(folder / f"{name}-ca.key", _text(key))  # last: with it the authority is whole

    @classmethod
    def prepare(cls, folder: Path, name: str) -> None:
        """Its successor: believed from now on, and silent."""
        if (folder / f"{name}-next-ca.key").exists():
            return
        cls.make(folder, f"{name}-next")
        ours = certificate(folder, name)
        write_private(ours, ours.read_text() + certificate(folder, f"{name}-next").read_text())

    @classmethod
    def change(cls, folder: Path, name: str) -> None:
        """The successor signs."""
        successor, ours = certificate(folder, f"{name}-next"), certificate(folder, name)
        texts = [_pem(one) for one in x509.load_pem_x509_certificates(ours.read_bytes())]
        write_private(ours, successor.read_text() + "".join(text for text in texts if text != successor.read_text()))
        (folder / f"{name}-next-ca.key").replace(folder / f"{name}-ca.key")
        successor.unlink()

    @classmethod
    def finish(cls, folder: Path, name: str) -> None:
        """Only who signs is believed."""
        ours = certificate(folder, name)
        write_private(ours, _pem(x509.load_pem_x509_certificates(ours.read_bytes())[0]))

    def sign(self, request: str, name: str) -> str:
        """Of a request only its key is taken: who somebody is, we say."""
        try:
            asked = x509.load_pem_x509_csr(request.encode())
            if not asked.is_signature_valid or not isinstance(key := asked.public_key(), ec.EllipticCurvePublicKey):
                raise ValueError
        except (ValueError, InvalidSignature):
            raise BadRequest("This is no request for a certificate.") from None
        return self._issue(key, name)

    def identity(self, path: Path, name: str) -> None:
        """A new key and its certificate, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        write_identity(path, name, _text(key), self._issue(key.public_key(), name))

    def web(self, path: Path, names: Sequence[str], seconds: float) -> None:
        """For a server that is known by names and addresses, as the web knows them: an API, a balancer, a database."""
        key = ec.generate_private_key(ec.SECP256R1())
        title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        made = _builder(title, self.certificate.subject, key.public_key(), seconds).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True).add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        write_private(path, _text(key) + _pem(made.sign(self._key, hashes.SHA256())))

    def _issue(self, key: ec.EllipticCurvePublicKey, name: str) -> str:
        title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        made = _builder(title, self.certificate.subject, key, TlsSettings.read().lifetime).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True).add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(tls.SCHEME + name)]), critical=False).add_extension(
            # Both: an agent is asked at its door, and reports; a controller serves switches, and brings books.
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return _pem(made.sign(self._key, hashes.SHA256()))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, seconds: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        subject_name=subject, issuer_name=issuer, public_key=key, not_valid_before=now - SKEW,
        not_valid_after=now + timedelta(seconds=seconds),
        # The time of issue, since `not valid before` is earlier: by it a host that was removed is told from its successor.
        serial_number=int(now.timestamp() * 1000) << 64 | secrets.randbits(64))


def request() -> tuple[str, str]:
    """A new key, and the request to sign it."""
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    return _text(key), asked.public_bytes(serialization.Encoding.PEM).decode()


def write_identity(path: Path, name: str, key: str, certificate: str) -> None:
    """Key and certificate in one file, so that they change in one moment; Open vSwitch, too, takes both from it. The first
    line is what `tls.validity` reads."""
    until = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()
    private_folder(path.parent)
    write_private(path, f"unryu {name} valid {time.time():.3f} {until:.3f}\n{key}{certificate}")


def fingerprint(certificate: str) -> str:
    """Of the first certificate in a file: what a token carries, so that a new host knows whom to trust."""
    return x509.load_pem_x509_certificates(certificate.encode())[0].fingerprint(hashes.SHA256()).hex()


def make(folder: Path, *services: str) -> None:
    """The authorities and the identities of these services, as far as they are missing or ageing."""
    private_folder(folder)
    for authority in (SERVICES, HOSTS):
        Authority.make(folder, authority)
    for service in services:
        freshen(folder, SERVICES, folder / f"{service}.pem", service)


def freshen(folder: Path, authority: str, path: Path, name: str) -> None:
    """Where the authority's key is at hand, an identity is renewed without asking anybody."""
    if not path.exists() or tls.ageing(path) < 0:
        Authority(folder, authority).identity(path, name)


def own(folder: Path, service: str) -> tls.Identity:
    """Of a service that speaks with services and hosts."""
    freshen(folder, SERVICES, folder / f"{service}.pem", service)
    return tls.Identity(folder / f"{service}.pem", certificate(folder, SERVICES), certificate(folder, HOSTS))


def keep_fresh(folder: Path, authority: str, path: Path, name: str) -> None:
    """For ever, for who has the authority's key: what a thread of a service does."""
    while True:
        time.sleep(max(1.0, tls.ageing(path)))
        with suppress(Unavailable):
            freshen(folder, authority, path, name)


def _key(text: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
