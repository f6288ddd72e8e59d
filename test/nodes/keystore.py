"""An SROS2 keystore made from a policy file with openssl: what `ros2 security` makes, without that command."""

from __future__ import annotations

import subprocess
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
    for enclave in ElementTree.parse(policy).getroot().iter("enclave"):
        path = enclave.attrib["path"]
        target = folder / "enclaves" / path.lstrip("/")
        target.mkdir(parents=True)
        for authority in ("identity_ca", "permissions_ca"):
            (target / f"{authority}.cert.pem").write_bytes(certificate.read_bytes())
        _make_key(target / "key.pem")
        _openssl("req", "-new", "-key", target / "key.pem", "-subj", _subject(path), "-out", target / "request.pem")
        issuer = ("-CA", certificate, "-CAkey", key, "-CAcreateserial", "-days", 365)
        _openssl("x509", "-req", "-in", target / "request.pem", *issuer, "-out", target / "cert.pem")
        publish, subscribe = _topics(enclave)
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


def _listed(topics: list[str]) -> str:
    return "".join(f"<topic>{topic}</topic>" for topic in sorted(topics))


def _topics(enclave: ElementTree.Element) -> tuple[list[str], list[str]]:
    """Return the DDS topics that the enclave publishes and subscribes to, by the naming rules of ROS 2 on DDS."""
    publish, subscribe = ["ros_discovery_info"], ["ros_discovery_info"]
    for profile in enclave.iter("profile"):
        namespace = profile.attrib["ns"].rstrip("/")

        def full(name: str, namespace: str = namespace, node: str = profile.attrib["node"]) -> str:
            if name.startswith("/"):
                return name
            return f"{namespace}/{node}/{name[2:]}" if name.startswith("~/") else f"{namespace}/{name}"

        for topics in profile.iter("topics"):
            names = [f"rt{full(topic.text or '')}" for topic in topics.iter("topic")]
            publish += names if topics.get("publish") == "ALLOW" else []
            subscribe += names if topics.get("subscribe") == "ALLOW" else []
        for services in profile.iter("services"):
            names = [full(service.text or "") for service in services.iter("service")]
            requests, replies = ([f"{kind}{name}" for name in names] for kind in ("rq", "rr"))
            if services.get("reply") == "ALLOW":
                subscribe += [f"{name}Request" for name in requests]
                publish += [f"{name}Reply" for name in replies]
            if services.get("request") == "ALLOW":
                publish += [f"{name}Request" for name in requests]
                subscribe += [f"{name}Reply" for name in replies]
    return publish, subscribe
