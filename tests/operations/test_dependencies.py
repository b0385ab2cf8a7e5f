"""What the packages of a release are named after: everything of it that has a part in what is installed."""

from __future__ import annotations

import pytest

from dodai.operations.run.dependencies import _named

INSTALLS = "-m pip install"


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("-r requirements.txt", {"requirements.txt": "-r base.txt\nflask", "base.txt": ""}, {"base.txt"}),
        ("-r req/prod.txt", {"req/prod.txt": "-r base.txt -c ../pins.txt", "req/base.txt": "", "pins.txt": ""},
         {"req/prod.txt", "req/base.txt", "pins.txt"}),
        ("--requirement=dev.txt", {"dev.txt": "./vendor/one.whl", "vendor/one.whl": "1"}, {"dev.txt", "vendor/one.whl"}),
        ("-rdev.txt", {"dev.txt": ""}, {"dev.txt"}),
        ("--find-links vendor foo", {"vendor/foo.whl": "1", "other/foo.whl": "1"}, {"vendor/foo.whl"}),
        ("libs/one[fast]", {"libs/one/setup.py": "", "libs/one/a.py": "", "libs/two/b.py": ""},
         {"libs/one/setup.py", "libs/one/a.py"}),
        ("sh -c 'pip install -r dev.txt'", {"dev.txt": "-r base.txt", "base.txt": ""}, {"dev.txt", "base.txt"}),
        ("-r a.txt", {"a.txt": "-r b.txt", "b.txt": "-r a.txt"}, {"a.txt", "b.txt"}),
        ("-r /etc/passwd ../outside.txt .", {"web.py": "import os"}, set()),
        ("flask", {"web.py": "", "pyproject.toml": "web.py"}, set()),
    ],
    ids=["in another list", "beside it", "with =", "attached", "a folder", "a package", "in a shell", "in a circle",
         "outside", "nothing more"],
)  # fmt: skip
def test_whatever_an_install_line_leads_to_has_a_part(tmp_path, line, files, expected):
    """A change of any of it is another environment: the old packages under a new release would be called its own."""
    root = tmp_path / "release"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "outside.txt").write_text("")
    known = {"requirements.txt", "pyproject.toml"}.intersection(files)
    assert _named(root, [*INSTALLS.split(), *line.split(maxsplit=0 if "'" in line else -1)]) == expected | known
