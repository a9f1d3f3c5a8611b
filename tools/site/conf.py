"""How Sphinx makes the site of the documentation: from the pages as they are, in the order of docs/README.md.

`make docs` builds it. A link or an anchor that leads nowhere is a warning, and warnings are errors.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

project = "seqstep"
extensions = ["myst_parser"]
root_doc = "README"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/*.md", "clients/*/README.md", "deploy/*/README.md"]
include_patterns += [
    "sandbox/README.md",
    "tests/vectors/README.md",
    "tests/peer/README.md",
    "tests/contract/released/README.md",
]
# Folders that are not even looked through.
exclude_patterns = [".*", "build", "dist", "var", "**/node_modules", "**/target"]
html_theme = "furo"
html_title = "seqstep"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False
# Anchors as git hosts make them.
myst_heading_anchors = 4

_ROOT = Path(__file__).parents[2]


def _linked(page: str, text: str) -> Iterator[str]:
    """The documents that a page has links to."""
    for target in re.findall(r"\]\(([^)#\s]+\.md)\)", text):
        if not target.startswith("https:"):
            yield str((_ROOT / page / ".." / target).resolve().relative_to(_ROOT).with_suffix(""))


def _toctree(documents: list[str], caption: str = "") -> str:
    listed = "\n".join(f"/{document}" for document in dict.fromkeys(documents))
    option = f":caption: {caption}\n" if caption else ""
    return f"\n\n```{{toctree}}\n:hidden:\n{option}\n{listed}\n```\n"


def _add_navigation(app: Sphinx, document: str, source: list[str]) -> None:
    """Adds to the first page what the sidebar has: the parts of docs/README.md, and what it does not name."""
    clients = list(_linked("docs/clients.md", (_ROOT / "docs/clients.md").read_text(encoding="utf-8")))
    clients = [each for each in clients if each.endswith("/README")]
    if document == "docs/clients":
        source[0] += _toctree(clients)
    if document != root_doc:
        return
    _, *parts = (_ROOT / "docs/README.md").read_text(encoding="utf-8").split("\n## ")
    listed = {"docs/README", *clients}
    for part in parts:
        caption, _, text = part.partition("\n")
        documents = [each for each in _linked("docs/README.md", text) if each != root_doc]
        source[0] += _toctree(documents, caption)
        listed.update(documents)
    rest = sorted(app.env.found_docs - listed - {root_doc})
    source[0] += _toctree(["docs/README", *rest], "More")


def _leave_folders(_: Sphinx, document: str, source: list[str]) -> None:
    """Makes text of links to folders, which only git hosts show."""

    def plain(link: re.Match[str]) -> str:
        return link[1] if (_ROOT / document / ".." / link[2]).resolve().is_dir() else link[0]

    source[0] = re.sub(r"\[([^\]]+)\]\(([^)#:\s]+)\)", plain, source[0])


def _show_diagram(_: Sphinx, document: str, source: list[str]) -> None:
    """Puts the picture of a diagram in the place of its source, which git hosts draw."""
    if document == "docs/architecture":
        picture = "![The parts, and which imports or calls which](images/architecture.svg)"
        source[0] = re.sub(r"^```mermaid\n.*?^```$", picture, source[0], flags=re.DOTALL | re.MULTILINE)


def _add_index(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.name == "html":
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connects the above."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", _add_navigation)
    app.connect("source-read", _leave_folders)
    app.connect("source-read", _show_diagram)
    app.connect("build-finished", _add_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
