"""An SROS2 keystore made from a policy file with openssl: what `ros2 security` makes, without that command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

_VALIDITY = (
    "<validity><not_before>2020-01-01T00:00:00</not_before><not_after>2040-01-01T00:00:00</not_after></validity>"
)
_GOVERNANCE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_governance.xsd">
  <domain_access_rules>
    <domain_rule>
      <domains><id>{domain}</id></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
      <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
      <rtps_protection_kind>SIGN</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
          <data_protection_kind>ENCRYPT</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""
_PERMISSIONS = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_permissions.xsd">
  <permissions>
    <grant name="{enclave}">
      <subject_name>CN={enclave}</subject_name>
      {validity}
      <allow_rule>
        <domains><id>{domain}</id></domains>
        <publish><topics>{publish}</topics></publish>
        <subscribe><topics>{subscribe}</topics></subscribe>
      </allow_rule>
      <default>DENY</default>
    </grant>
  </permissions>
</dds>
"""


def make_keystore(folder: Path, policy: Path, domain: int) -> Path:
    """Make a certificate authority and, for each enclave of the policy, a key, a certificate and signed permissions."""
    folder.mkdir()
    key, certificate = folder / "ca.key.pem", folder / "ca.cert.pem"
    _make_key(key)
    _openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=testCA", "-days", 365, "-out", certificate)
    governance = folder / "governance.xml"
    governance.write_text(_GOVERNANCE.format(domain=domain))
    for path, enclave in enclaves(policy).items():
        target = folder / "enclaves" / path.lstrip("/")
        target.mkdir(parents=True)
        for authority in ("identity_ca", "permissions_ca"):
            (target / f"{authority}.cert.pem").write_bytes(certificate.read_bytes())
        _make_key(target / "key.pem")
        _openssl("req", "-new", "-key", target / "key.pem", "-subj", _subject(path), "-out", target / "request.pem")
        issuer = ("-CA", certificate, "-CAkey", key, "-CAcreateserial", "-days", 365)
        _openssl("x509", "-req", "-in", target / "request.pem", *issuer, "-out", target / "cert.pem")
        publish, subscribe = _dds_topics(rights(enclave))
        permissions = target / "permissions.xml"
        permissions.write_text(
            _PERMISSIONS.format(
                enclave=path, domain=domain, validity=_VALIDITY, publish=_listed(publish), subscribe=_listed(subscribe)
            )
        )
        for document in (governance, permissions):
            signed = target / f"{document.stem}.p7s"
            _openssl("smime", "-sign", "-text", "-in", document, "-out", signed, "-signer", certificate, "-inkey", key)
    return folder


def _make_key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _subject(enclave: str) -> str:
    return "/CN=" + enclave.replace("/", "\\/")


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _listed(topics: set[str]) -> str:
    return "".join(f"<topic>{topic}</topic>" for topic in sorted(topics))


@dataclass(frozen=True)
class Rights:
    """Full ROS names of the topics and services that an enclave may use."""

    publish: frozenset[str]
    subscribe: frozenset[str]
    reply: frozenset[str]
    request: frozenset[str]


def rights(enclave: ElementTree.Element) -> Rights:
    """Read what a policy allows an enclave."""
    found: dict[str, set[str]] = {"publish": set(), "subscribe": set(), "reply": set(), "request": set()}
    for profile in enclave.iter("profile"):
        namespace, node = profile.attrib["ns"].rstrip("/"), profile.attrib["node"]
        for group in (*profile.iter("topics"), *profile.iter("services")):
            for entry in group:
                name = entry.text or ""
                if name.startswith("~/"):
                    name = f"{namespace}/{node}/{name[2:]}"
                elif not name.startswith("/"):
                    name = f"{namespace}/{name}"
                for what in found:
                    if group.get(what) == "ALLOW":
                        found[what].add(name)
    return Rights(**{what: frozenset(names) for what, names in found.items()})


def enclaves(policy: Path) -> dict[str, ElementTree.Element]:
    """Return the enclaves of a policy file by their paths."""
    return {enclave.attrib["path"]: enclave for enclave in ElementTree.parse(policy).getroot().iter("enclave")}


def _dds_topics(rights: Rights) -> tuple[set[str], set[str]]:
    """Return the DDS topics to publish and to subscribe to, by the naming rules of ROS 2 on DDS."""
    publish = {"ros_discovery_info"} | {f"rt{name}" for name in rights.publish}
    subscribe = {"ros_discovery_info"} | {f"rt{name}" for name in rights.subscribe}
    for name in rights.reply:
        subscribe.add(f"rq{name}Request")
        publish.add(f"rr{name}Reply")
    for name in rights.request:
        publish.add(f"rq{name}Request")
        subscribe.add(f"rr{name}Reply")
    return publish, subscribe
