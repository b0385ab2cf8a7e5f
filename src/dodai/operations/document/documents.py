"""The documents of a project: which pages there are, where they stand, who owns their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from dodai.core import codes, proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.finding import Finding, Place
from dodai.core.page import Lang, Page, Section
from dodai.core.page_file import (
    FileState,
    PageFileError,
    generated_state,
    merge_generated,
    merge_region,
    region_state,
    text_of,
)
from dodai.operations.document.env_example import BEGIN, END, env_example, lone_marker, region_of, with_region
from dodai.operations.project import Project

ENV_EXAMPLE = ".env.example"


@dataclass(frozen=True, slots=True)
class Document:
    """A page in one language at one path. With `region` the file is its owner's and dodai owns that region only."""

    path: Path
    shown: str
    lang: Lang
    text: str
    region: str = ""

    def state(self) -> FileState:
        """What writing would do; raises DOD008 for malformed markers."""
        old = self._old()
        try:
            return region_state(old, self.region, self.text) if self.region else generated_state(old, self.text)
        except PageFileError as error:
            raise self._malformed(error) from None

    def write(self, *, force: bool = False) -> FileState:
        """Bring the file up to date; says what it was.

        A file edited by hand is left alone unless forced, somebody else's always: `force` never loses a file.
        """
        state = self.state()
        if state in ("missing", "stale") or (state == "edited" and force):
            new = self._merged(self._old())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(f".{self.path.name}.dodai")
            partial.write_bytes(new.encode())
            partial.replace(self.path)
        return state

    def _merged(self, old: str | None) -> str:
        return merge_region(old or "", self.region, self.text) if self.region else merge_generated(old, self.text)

    def finding(self) -> Finding | None:
        """What `docs --check` has to say about it; None when it is fresh."""
        said = {
            "missing": f"`{self.shown}` is missing" + (f" its region `{self.region}`" if self.region else ""),
            "stale": f"`{self.shown}` differs from what the definition renders now",
            "edited": f"`{self.shown}` was edited outside of its keep regions",
            "foreign": f"`{self.shown}` stands where a generated document belongs",
        }
        state = self.state()
        if state == "fresh":
            return None
        fix = {
            "edited": f"move the text into a `<!-- dodai:keep NAME -->` region, then run `{proposal.DOCS_FORCE()}`",
            "foreign": f"move the file away, then run `{proposal.DOCS()}`",
        }.get(state, "")
        return Finding(codes.DOCUMENT_STALE, said[state], Place(self.shown), fix=fix)

    def _old(self) -> str | None:
        try:
            return text_of(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except PageFileError as error:
            raise self._malformed(error) from None

    def _malformed(self, error: PageFileError) -> DodaiError:
        where = f"{self.shown}:{error.line}"
        return DodaiError(codes.DOCUMENT_MARKERS, f"{where}: {error.problem}", error.fix, exit_code=2)


@dataclass(frozen=True, slots=True)
class EnvExample(Document):
    """`.env.example`, of which dodai owns the lines between two comments."""

    def state(self) -> FileState:
        old = self._old()
        if old and (line := lone_marker(old)):
            said, fix = "this marker has no other half", f"remove it, or write both: `{BEGIN}` and `{END}`"
            raise self._malformed(PageFileError(line, said, fix))
        found = region_of(old)
        return "missing" if found is None else "fresh" if found == self.text else "stale"

    def _merged(self, old: str | None) -> str:
        return with_region(old, self.text)


def documents(project: Project, pages: Iterable[tuple[Page, str]]) -> tuple[Document, ...]:
    """Every document of the project in each of its languages, of `pages` and the regions that they fill."""
    return tuple(_in_languages(project, pages))


def _in_languages(project: Project, pages: Iterable[tuple[Page, str]]) -> Iterator[Document]:
    if text := env_example(project.policy):
        lang = cast(Lang, project.manifest.data["project"]["langs"][0])
        yield EnvExample(project.root / ENV_EXAMPLE, ENV_EXAMPLE, lang, text, "variables")
    folder = project.root / str(project.manifest.data["project"]["docs"])
    langs = cast(tuple[Lang, ...], project.manifest.data["project"]["langs"])
    for page, region in pages:
        for lang in langs:
            name = f"{page.name}.md" if lang == langs[0] else f"{page.name}.{lang}.md"
            yield _document(folder / name, project, page, lang, region)


def _document(path: Path, project: Project, page: Page, lang: Lang, region: str) -> Document:
    shown = str(path.relative_to(project.root)) if path.is_relative_to(project.root) else str(path)
    text = Section(page.title, page.blocks, page.sections).render(lang) if region else page.render(lang)
    return Document(path, shown, lang, text, region)
