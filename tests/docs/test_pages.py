"""The pages of the documentation: links and anchors lead somewhere, the list of pages is whole, and the site builds."""

import hashlib
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.browser import needs_chromium, running_browser

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "clients/*", "deploy/*", "sandbox", "tests/vectors")
PAGES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as git hosts make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_every_link_of_a_page_leads_to_a_file_and_an_anchor(page: Path) -> None:
    for target in LINK.findall(without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            assert target.startswith(("https://", "mailto:")), target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_list_of_pages_has_every_page_once() -> None:
    listed = re.findall(r"^- \[[^\]]*\]\(([^)#]+)\)", (ROOT / "docs" / "README.md").read_text(), re.MULTILINE)
    assert len(set(listed)) == len(listed)
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} == {
        name for name in listed if "/" not in name
    }


def test_the_picture_of_the_architecture_is_fresh() -> None:
    source = (ROOT / "docs" / "architecture.md").read_text().partition("```mermaid\n")[2].partition("```")[0]
    drawn = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    assert hashlib.sha256(source.encode()).hexdigest() in drawn, "run `python -m tools.pictures architecture`"


class _Assets(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        source = given.get("href") if tag == "link" and given.get("rel") != "canonical" else given.get("src")
        if source:
            self.found.append(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--conf-dir", "tools/site", ".", folder)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} | {"index.html", "search.html"} <= {
        str(page.relative_to(site)) for page in pages
    }
    for page in pages:
        assets = _Assets()
        assets.feed(page.read_text())
        assert assets.found
        assert [source for source in assets.found if re.match(r"(?:[a-z]+:)?//", source)] == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", style.read_text()) == [], style.name


@pytest.mark.slow
@needs_chromium
async def test_the_site_is_searched_without_a_server(site: Path) -> None:
    asked: list[str] = []
    async with running_browser() as browser:
        page = await browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{site.as_uri()}/search.html?q=NOT_FOUND_ERROR")
        await page.wait_for_selector('ul.search a[href*="docs/errors.html"]')
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
