"""The page at ``/``: served without a key, from here alone, and allowed nothing else by its own policy."""

import re

import pytest
from fastapi.testclient import TestClient

from api.live_page.router import FOLDER

FILES = {"/": "index.html", "/page/page.css": "page.css", "/page/page.js": "page.js"}


@pytest.mark.parametrize("path", FILES)
def test_each_file_comes_without_a_key_and_with_its_policy(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"X-API-Key": ""})
    assert answer.status_code == 200
    assert answer.text == (FOLDER / FILES[path]).read_text()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    known = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert known.status_code == 304 or known.text == answer.text


def test_the_files_are_all_there_is_and_name_no_other_server(client: TestClient) -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(FILES.values())
    for name in FILES.values():
        addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"']*", (FOLDER / name).read_text()))
        assert {each for each in addresses if "." in each.split("/")[2]} <= {"http://www.w3.org/2000/svg"}


def test_nothing_in_the_page_is_inline(client: TestClient) -> None:
    page = client.get("/").text
    assert not re.search(r"<style|\son\w+=|style=|<script(?![^>]*src=)", page)
