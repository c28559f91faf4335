"""A hostile article opens in a real browser as text: nothing of it runs, nothing is asked of anybody, all is seen."""

import http.server
import threading
from pathlib import Path

import pytest

from allegedly.labels import LABELS
from allegedly.report import Labelled, write

pytestmark = pytest.mark.browser
# Each would set `window.run` if it ran, or ask SERVER for something.
ATTACKS = [
    "<script>window.run = 1</script>",
    "</style></mark></p><script>window.run = 1</script>",
    '"><img src="SERVER/a.png" onerror="window.run = 1">',
    "' onmouseover='window.run = 1' x='",
    '<svg onload="window.run = 1"><use href="SERVER/b.svg"></svg>',
    '<iframe srcdoc="<script>parent.run = 1</script>"></iframe>',
    '<link rel="stylesheet" href="SERVER/c.css"><style>@import url(SERVER/d.css);</style>',
    '<meta http-equiv="refresh" content="0; url=SERVER/e.html">',
    '<base href="SERVER/"><form action="SERVER/f"><input autofocus onfocus="window.run = 1"></form>',
    '<a href="javascript:window.run = 1" ping="SERVER/g">here</a>',
    "<!--<script>window.run = 1</script>-->]]><![CDATA[",
    "{{ 7 * 7 }} {% set x = 1 %} ${7*7} &lt;b&gt; &#60;script&#62;",
    '<noscript><p title="</noscript><img src=x onerror=window.run=1>">',
    "<object data='SERVER/h.swf'></object><embed src='SERVER/i.swf'><video poster='SERVER/j.png'></video>",
]


@pytest.fixture(scope="module")
def asked():
    """(the address of a server on this machine, what it was asked for)."""
    paths: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()


def page(address: str, folder: Path) -> Path:
    """The report on a file whose name and every sentence attack, labelled as each label in turn."""
    rows, text = [], ""
    name = '"><script>window.run = 1</script><img src=x onerror="window.run = 1">.txt'
    for index, attack in enumerate(attack.replace("SERVER", address) for attack in ATTACKS):
        label = LABELS[index % len(LABELS)]
        probabilities = {other: 0.7 if other == label else 0.1 for other in LABELS}
        rows.append(Labelled(name, index, len(text), len(text) + len(attack), attack, label, 0.7, probabilities))
        text += attack + "\n"
    target = folder / "report.html"
    with target.open("w", encoding="utf-8") as stream:
        write(rows, stream, format="html", full_text={name: text})
    return target


@pytest.fixture(scope="module")
def report(asked, browser, tmp_path_factory) -> Path:
    """The report, open in the browser."""
    path = page(asked[0], tmp_path_factory.mktemp("report"))
    browser.get(path.as_uri())
    return path


def test_no_script_of_an_article_runs(report, browser):
    assert browser.execute_script("return window.run") is None
    for element in browser.find_elements("css selector", "mark, a, label, input"):
        browser.execute_script("arguments[0].click(); arguments[0].focus()", element)
        browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))", element)
    assert browser.execute_script("return window.run") is None
    assert browser.execute_script("return document.scripts.length") == 0


def test_no_request_leaves_and_the_page_stays_where_it_is(report, asked, browser):
    assert browser.current_url.split("#")[0] == report.as_uri()
    assert asked[1] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    found = browser.execute_script(
        "return [...document.querySelectorAll('*')].filter(e => e.matches("
        "'script, img, svg, iframe, object, embed, video, link, base, form, noscript, meta[http-equiv=refresh]')"
        " || [...e.attributes].some(a => a.name.startsWith('on') || a.name == 'style' || a.name == 'src'))"
        ".map(e => e.outerHTML)"
    )
    assert found == []


def test_every_attack_is_seen_as_the_text_that_it_is(report, asked, browser):
    shown = browser.execute_script(
        "return [...document.querySelectorAll('mark, span.background')].map(e => e.innerText)"
    )
    for attack in ATTACKS:
        words = attack.replace("SERVER", asked[0])
        assert any(words in text for text in shown), words


def test_the_policy_stops_what_would_get_past_the_escaping(report, asked, browser):
    """Scripts, styles and pictures put in by hand: the page's own policy refuses each."""
    policy = browser.find_element("css selector", "meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy
    assert "unsafe" not in policy
    browser.execute_script(
        """
        window.refused = []
        document.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective))
        const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set))
        add('script', {textContent: 'window.run = 1'})
        add('script', {src: arguments[0] + '/k.js'})
        add('img', {src: arguments[0] + '/l.png'})
        add('style', {textContent: 'body { display: none }'})
        add('iframe', {src: arguments[0] + '/m.html'})
        fetch(arguments[0] + '/n').catch(() => 0)
        """,
        asked[0],
    )
    refused = browser.execute_async_script("setTimeout(() => arguments[0](window.refused), 1000)")
    assert {"script-src-elem", "img-src", "style-src-elem", "frame-src", "connect-src"} <= set(refused)
    assert browser.execute_script("return window.run") is None
    assert browser.execute_script("return getComputedStyle(document.body).display") != "none"
    assert asked[1] == []
    browser.get(report.as_uri())
