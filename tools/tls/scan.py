"""Scans the doors for STARTTLS and for TLS with sslyze; prints TAP."""

import sys

from sslyze import (
    ProtocolWithOpportunisticTlsEnum,
    Scanner,
    ScanCommand,
    ScanCommandAttemptStatusEnum,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
    ServerScanRequest,
)

# The only suites that TLS 1.2 may have; those of 1.3 are all good.
GOOD_TLS_1_2 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
OLD = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"]
COMMANDS = {command for command in ScanCommand} - {
    # Nobody vouches for the certificate of a test; and these two are of HTTP.
    ScanCommand.CERTIFICATE_INFO,
    ScanCommand.HTTP_HEADERS,
    # Whether a Bleichenbacher oracle is there takes RSA key exchange, of which there is none.
    ScanCommand.ROBOT,
}
done = [0, 0]


def tap(good, what):
    done[0 if good else 1] += 1
    print(f"{'ok' if good else 'not ok'} {sum(done)} - {what}", flush=True)


def suites(result, version):
    return {accepted.cipher_suite.name for accepted in getattr(result, f"{version}_cipher_suites").result.accepted_cipher_suites}


def judge(door, scan):
    states = ScanCommandAttemptStatusEnum
    failed = [name for name, attempt in vars(scan).items() if attempt.status == states.ERROR]
    completed = [name for name, attempt in vars(scan).items() if attempt.status == states.COMPLETED]
    tap(not failed and len(completed) == len(COMMANDS), f"{door}: {len(completed)} scans went through {failed or ''}")
    for version in OLD:
        tap(not suites(scan, version), f"{door}: {version} is not spoken {sorted(suites(scan, version)) or ''}")
    bad = suites(scan, "tls_1_2") - GOOD_TLS_1_2
    tap(suites(scan, "tls_1_2") and not bad, f"{door}: TLS 1.2 with forward secrecy and AEAD only {sorted(bad) or ''}")
    tap(suites(scan, "tls_1_3"), f"{door}: TLS 1.3 is spoken")
    renegotiation = scan.session_renegotiation.result
    tap(not renegotiation.is_vulnerable_to_client_renegotiation_dos, f"{door}: a client renegotiates nothing")
    tap(renegotiation.supports_secure_renegotiation, f"{door}: and is told so (RFC 5746)")
    tap(not scan.tls_compression.result.supports_compression, f"{door}: no compression")
    tap(not scan.tls_1_3_early_data.result.supports_early_data, f"{door}: no early data")
    tap(not scan.heartbleed.result.is_vulnerable_to_heartbleed, f"{door}: no Heartbleed")
    tap(not scan.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection, f"{door}: no CCS injection")
    tap(scan.tls_extended_master_secret.result.supports_ems_extension, f"{door}: extended master secret (RFC 7627)")
    curves = {curve.name for curve in scan.elliptic_curves.result.supported_curves}
    tap(curves == {"X25519", "secp256r1"}, f"{door}: curves {sorted(curves)}")


def main():
    requests = []
    names = {}
    for address, starttls in zip(sys.argv[1:], [True, False]):
        host, port = address.rsplit(":", 1)
        protocol = ProtocolWithOpportunisticTlsEnum.XMPP if starttls else None
        requests.append(
            ServerScanRequest(
                server_location=ServerNetworkLocation("localhost", int(port), ip_address=host),
                network_configuration=ServerNetworkConfiguration(
                    "localhost", tls_opportunistic_encryption=protocol, xmpp_to_hostname="localhost" if starttls else None
                ),
                scan_commands=COMMANDS,
            )
        )
        names[int(port)] = "STARTTLS" if starttls else "direct TLS"
    scanner = Scanner()
    scanner.queue_scans(requests)
    for result in scanner.get_results():
        door = names[result.server_location.port]
        if result.scan_result is None:
            tap(False, f"{door}: no connection: {result.connectivity_error_trace}")
        else:
            judge(door, result.scan_result)
    print(f"1..{sum(done)}\n{done[0]} ok, {done[1]} not ok")
    sys.exit(1 if done[1] or not done[0] else 0)


main()
