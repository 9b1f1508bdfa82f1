"""Which names of variables say that they hold a secret, and what refers to one."""

from __future__ import annotations

import pytest

from sopwith.core.confidential import is_credential, read_reference

CREDENTIALS = """
TOKEN GITHUB_TOKEN token NPM_TOKENS AWS_SECRET_ACCESS_KEY DB_PASSWORD PGPASSWORD APIKEY API_KEY AWS_ACCESS_KEY_ID
SSH_PASSPHRASE MY_CREDENTIALS MYSQL_PWD DB_PASS SECRET_NAME
"""
OTHERS = """
PATH PWD PASS OLDPWDS REGION TOKENIZER KEYBOARD SECRETARY KUBECONFIG PASSWORD_FILE AWS_SHARED_CREDENTIALS_FILE KEY_DIR
SSH_KEY_PATH KEYPATH _
"""


@pytest.mark.parametrize(
    ("names", "expected"), [(CREDENTIALS, True), (OTHERS, False)], ids=["credentials", "no credentials"]
)
def test_the_name_of_a_variable_says_whether_it_holds_a_secret(names: str, expected: bool) -> None:
    assert [name for name in names.split() if is_credential(name) is not expected] == []


@pytest.mark.parametrize("text", ["env:TOKEN", "env:_a1", "file:a b/c", "file:/run/secrets/x", "file:../x"])
def test_references(text: str) -> None:
    assert str(read_reference(text)) == text
