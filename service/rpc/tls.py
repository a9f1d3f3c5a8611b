"""TLS of the gRPC door."""

import grpc

from service.api.tls import TlsFiles, TlsMaterial, TlsWatch


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: every handshake looks whether they changed.

    Raises:
        TlsError: The files cannot be used at the start.
    """
    watch = TlsWatch(files)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        changed = watch.changed()
        return _configuration(changed) if changed is not None else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(watch.current),
        fetch,  # type: ignore[arg-type]  # the stubs do not know that None means no change
        require_client_authentication=files.client_ca is not None,
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.private_key, material.certificate)], root_certificates=material.client_ca
    )
