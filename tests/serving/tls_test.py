import os
import shutil
import ssl
import subprocess
import sys

import grpc
import pytest
from serving.rest_server import serve_rest
from serving.rpc_server import serve_rpc

ASK = """
import sys
from tfrec_zoo.serving import Client, ServingError
client = Client(sys.argv[1], timeout=20, retries=0)
try:
    print(client.recommend("gru4rec", [["item-1"]]).items.shape)
except ServingError as error:
    print(error.status)
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The paths of a certificate that signs itself, and of its key."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    paths = folder / "certificate.pem", folder / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    files = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return paths


def ask(url, **environment):
    """Returns what a process of its own prints: certificates are read once in each."""
    command = [sys.executable, "-c", ASK, url]
    environment = {**os.environ, **environment}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return run.stdout.strip()


def test_rest_over_tls(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serve_rest(server, tls=context) as url:
        assert url.startswith("https://")
        assert ask(url, REQUESTS_CA_BUNDLE=str(certificate[0])) == "(1, 5)"
        assert ask(url) == "UNAVAILABLE"


def test_rpc_over_tls(server, certificate):
    chain, key = (path.read_bytes() for path in certificate)
    credentials = grpc.ssl_server_credentials([(key, chain)])
    with serve_rpc(server, tls=credentials) as url:
        assert url.startswith("grpcs://")
        assert ask(url, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(certificate[0])) == "(1, 5)"
        assert ask(url) == "UNAVAILABLE"
