"""Build the web pages of the real example from documentation packages of Debian 12, as a crawler would store them.

    apt-get update && python examples/real/build_pages.py [examples/real/pages]

Writes one WARC file per site: HTML responses under their public addresses. Needs `apt-get`, `dpkg-deb` and the
`warcio` package; the same packages give the same bytes. Releases that Debian's mirrors no longer have are on
snapshot.debian.org. All sites have a permissive licence (pages/NOTICE). Stubs, contents pages, a translation and second
addresses of the same page are in on purpose: filters and deduplication are to have work.
"""

import argparse
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

TARGET = Path(__file__).parent / "pages"
DATE = "2026-01-01T00:00:00Z"  # the same for all records, so that the files are the same whenever they are built


@dataclass(frozen=True)
class Site:
    """Pages of a documentation package that stand on one site.

    pages: globs of the pages taken, under the folder; address: of a page, by its `path` in the folder or its `name`,
    the path without .html; second_address: another address of the pages that match `twice`.
    """

    package: str
    version: str
    folder: str
    address: str
    pages: tuple[str, ...]
    second_address: str = ""
    twice: str = ""


SITES = {
    "sqlite": Site(
        "sqlite3-doc", "3.40.1-2+deb12u2", "usr/share/doc/sqlite3", "https://www.sqlite.org/{path}",
        (
            "index.html", "about.html", "arch.html", "cintro.html", "codeof*.html", "copyright.html", "different.html",
            "fa*.html", "fl*.html", "howtocorrupt.html", "isolation.html", "mostdeployed.html", "np1queryprob.html",
            "onefile.html", "quirks.html", "serverless.html", "sitemap.html", "tempfiles.html", "useovernet.html",
            "wh[ey]*.html", "releaselog/3_39*.html",
        ),
    ),
    "python": Site(
        "python3.11-doc", "3.11.2-6+deb12u9", "usr/share/doc/python3.11/html", "https://docs.python.org/3.11/{path}",
        (
            "index.html", "contents.html", "bugs.html", "faq/[d-i]*.html", "faq/programming.html", "howto/index.html",
            "howto/sockets.html", "tutorial/index.html", "tutorial/[aei]*.html",
        ),
        second_address="https://docs.python.org/3/{path}", twice="faq/g*.html",
    ),
    "postgresql": Site(
        "postgresql-doc-15", "15.20-0+deb12u1", "usr/share/doc/postgresql-doc-15/html",
        "https://www.postgresql.org/docs/15/{path}",
        (
            "index.html", "tutorial*.html", "backup*.html", "charset.html", "ddl*.html", "indexes*.html", "intro*.html",
            "mvcc*.html", "performance*.html", "populate.html", "routine*.html", "transaction*.html", "wal*.html",
        ),
    ),
    "apache-httpd": Site(
        "apache2-doc", "2.4.71-1~deb12u1", "usr/share/doc/apache2-doc/manual",
        "https://httpd.apache.org/docs/2.4/{path}",
        (
            "en/index.html", "en/sitemap.html", "en/dns-caveats.html", "en/getting-started.html",
            "en/faq/*.html", "en/howto/*.html", "en/misc/*.html", "fr/howto/a*.html",
        ),
    ),
    "rust": Site(
        "rust-doc", "1.63.0+dfsg1-2", "usr/share/doc/rust-doc/html", "https://doc.rust-lang.org/1.63.0/{path}",
        ("book/index.html", "book/README.html", "book/ch0[0-49]*.html", "book/if*.html"),
    ),
    "django": Site(
        "python-django-doc", "3:3.2.25-0+deb12u7", "usr/share/doc/python-django-doc/html",
        "https://docs.djangoproject.com/en/3.2/{name}/",
        (
            "index.html", "faq/*.html", "intro/tutorial0[1-4].html", "intro/[ow]*.html", "topics/index.html",
            "topics/security.html",
        ),
    ),
    "flask": Site(
        "python-flask-doc", "2.2.2-3", "usr/share/doc/python-flask-doc/html",
        "https://flask.palletsprojects.com/en/2.2.x/{name}/",
        ("index.html", "genindex.html", "design.html", "errorhandling.html", "security.html", "tutorial/*.html"),
    ),
    "requests": Site(
        "python-requests-doc", "2.28.1+dfsg-1", "usr/share/doc/python-requests-doc/html",
        "https://requests.readthedocs.io/en/v2.28.1/{name}/", ("index.html", "user/*.html", "community/*.html"),
    ),
    "scikit-learn": Site(
        "python-sklearn-doc", "1.2.1+dfsg-1", "usr/share/doc/python-sklearn-doc/html", "https://scikit-learn.org/1.2/{path}",
        (
            "index.html", "about.html", "common_pitfalls.html", "faq.html", "getting_started.html", "governance.html",
            "modules/calibration.html", "modules/mixture.html", "modules/naive_bayes.html", "modules/tree.html",
        ),
    ),
}  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, nargs="?", default=TARGET, help="folder of the WARC files")
    target = parser.parse_args().target
    target.mkdir(parents=True, exist_ok=True)
    for name, site in SITES.items():
        with tempfile.TemporaryDirectory() as work:
            folder = unpack(site, Path(work))
            file = target / f"{name}.warc.gz"
            print(f"{file}: {write_pages(file, chosen_pages(site, folder))} pages, {file.stat().st_size / 1e6:.2f} MB")


def unpack(site: Site, work: Path) -> Path:
    """Download and unpack a package; the folder of the site in it."""
    subprocess.run(["apt-get", "download", f"{site.package}={site.version}"], cwd=work, check=True)
    (package,) = work.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, work / "unpacked"], check=True)
    return work / "unpacked" / site.folder


def chosen_pages(site: Site, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Addresses and HTML of the pages taken, in the order of their globs, then of their paths."""
    files = dict.fromkeys(file for glob in site.pages for file in sorted(folder.glob(glob)) if file.is_file())
    for file in files:
        path = file.relative_to(folder)
        addresses = [site.address, site.second_address] if site.twice and path.match(site.twice) else [site.address]
        for address in addresses:
            yield address.format(path=path, name=path.with_suffix("")), file.read_bytes()


def write_pages(target: Path, pages: Iterator[tuple[str, bytes]]) -> int:
    """Write pages as response records of a WARC file; how many there were."""
    count = 0
    with target.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for address, html in pages:
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            identity = uuid.uuid5(uuid.NAMESPACE_URL, address).urn
            headers = {"WARC-Date": DATE, "WARC-Record-ID": f"<{identity}>"}
            with tempfile.TemporaryFile() as payload:
                payload.write(html)
                payload.seek(0)
                record = writer.create_warc_record(
                    address, "response", payload=payload, http_headers=http, warc_headers_dict=headers
                )
                writer.write_record(record)
            count += 1
    return count


if __name__ == "__main__":
    main()
