"""Options of the modules that call the docker command line. Their arguments: module_utils/docker/cli.py."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - The docker command line, 20.10 or newer
  - Python 3.9 or newer, without a Docker SDK
options:
  docker_cli:
    description:
      - Path of the docker command line. Searched in PATH by default.
    type: path
  docker_host:
    description:
      - The engine to talk to, such as V(unix:///var/run/docker.sock) or V(tcp://192.0.2.1:2376).
      - The default is what the command line uses by itself.
    type: str
    aliases: [docker_url]
  cli_context:
    description:
      - The context of the docker command line to use. Excludes O(docker_host).
    type: str
  api_version:
    description:
      - The version of the Docker API to use. Negotiated by default.
    type: str
    aliases: [docker_api_version]
  tls:
    description:
      - Use TLS without verifying the engine's certificate.
    type: bool
    default: false
  validate_certs:
    description:
      - Use TLS and verify the engine's certificate.
    type: bool
    default: false
    aliases: [tls_verify]
  ca_path:
    description:
      - The CA certificate to verify the engine with.
    type: path
    aliases: [tls_ca_cert, cacert_path]
  client_cert:
    description:
      - The client's TLS certificate.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description:
      - The client's TLS key.
    type: path
    aliases: [tls_client_key, key_path]
"""
