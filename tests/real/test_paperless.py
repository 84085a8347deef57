"""The contract on a real Paperless-ngx that may be changed (TUNESMITH_TEST_PAPERLESS_URL, …_TOKEN of an administrator).

Custom fields are made and removed; values of the first documents are put back, their links to one another excepted.
"""

import os

import pytest

from test_paperless_contract import *  # noqa: F403  (every test of it)
from test_paperless_contract import Server

URL = os.environ.get("TUNESMITH_TEST_PAPERLESS_URL", "").rstrip("/")
TOKEN = os.environ.get("TUNESMITH_TEST_PAPERLESS_TOKEN", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (URL and TOKEN), reason="set TUNESMITH_TEST_PAPERLESS_URL and …_TOKEN"),
]


@pytest.fixture
def server() -> Server:
    return Server(URL, TOKEN)
