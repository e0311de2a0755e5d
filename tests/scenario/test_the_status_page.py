"""The status page in a real browser: it shows what is, follows what happens, finds one among many, and runs nobody's script."""

import json
import time

import pytest

from lib import browser as _browser
from lib.wait import free_port, until
from lib.web import Web

pytestmark = pytest.mark.skipif(_browser.BINARY is None, reason="Debian's package chromium")

PORT = free_port()
MANY = ["bulk-%03d" % i for i in range(120)]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
# "{cn}" names the device on the TLS listener; the client id is whatever the sensor says.
SITE = {"status": {"enabled": True, "port": PORT}, "devices": ["dev-%02d" % i for i in range(1, 8)],
        "exceptions": [{"name": "old-ones", "device": "old-*", "anchor": "ab" * 32, "accept": ["expired"],
                        "until": time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400 * 20)),
                        "reason": "replaced in June " + HOSTILE}]}


@pytest.fixture(scope="module")
def crowd(site):
    """120 devices more, whose certificates are alike, and one whose certificate is hostile."""
    pair = site.pki.identity("bulk", "old")
    for name in MANY:
        site.gateway.install(name, old=pair, new=False)
    now = time.time()
    at = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(t)) for t in (now - 86400, now + 86400 * 3)]
    site.gateway.install("hostile", new=False, old=site.pki.old.issue_dated("hostile-old", "/CN=" + HOSTILE.replace("/", "\\/"), *at))
    site.gateway.reload()
    return site


@pytest.fixture(scope="module")
def chromium():
    with _browser.Browser() as b:
        b.look()
        yield b


@pytest.fixture
def page(crowd, chromium):
    def show(fragment=""):
        chromium.call("Page.navigate", url="about:blank")
        chromium.open("http://127.0.0.1:%d/%s" % (PORT, fragment))
        chromium.wait("document.body.dataset.ready === 'yes'")
        return chromium
    yield show
    chromium.look()
    assert chromium.dialogs == [], "some script of somebody else's ran"


def _names(page):
    return page.eval("[...document.querySelectorAll('#rows .dev')].map(b => b.textContent)")


def _row(page, device):
    return page.eval("(r => r && r.innerText)([...document.querySelectorAll('#rows tr')].find(t => t.dataset.device === %s))"
                     % json.dumps(device))


def test_it_shows_the_gateway_and_follows_a_flip(crowd, page):
    device = crowd.fresh()
    client = crowd.connect(device)
    b = page("#search=" + device)
    b.wait("document.querySelector('#health').textContent === 'Ready'")
    assert b.text("#gateway") == "gw-test"
    b.wait("document.querySelector('#tiles').innerText.includes('%d of 128')" % crowd.gateway.rpc("status")["devices"]["online"])
    assert "staged" in _row(b, device)
    crowd.gateway.flip(device, probation_s=3600)
    b.wait("document.querySelector('#trials-list').innerText.includes(%s)" % json.dumps(device))
    b.wait("document.querySelector('#trials-list').innerText.includes('on probation')")
    clocks = set()
    until("the clock runs down", lambda: clocks.add(b.text("#trials-list .clock")) or len(clocks) > 1, 15, 0.2)
    assert all(c.startswith("59:") or c == "1:00:00" for c in clocks), clocks
    assert "trial" in _row(b, device)
    crowd.gateway.rpc("commit", target=device)
    b.wait("document.querySelector('#rows').innerText.includes('committed')")
    b.wait("document.querySelector('#trials').hidden")
    assert b.complaints == []
    assert b.eval("performance.getEntriesByType('resource').every(e => e.name.startsWith(location.origin + '/'))")
    client.disconnect()
    client.wait_end()


def test_a_failure_is_shown_with_its_remedy(crowd, page):
    device = crowd.fresh()
    crowd.connect(device)
    crowd.gateway.install(device, old=False, new=crowd.pki.expired(device, "new"))
    crowd.gateway.reload()
    crowd.gateway.flip(device, probation_s=1, force=True)
    crowd.gateway.wait_device(device, phase="rolled-back")
    error = crowd.gateway.device(device)["last_error"]
    b = page("#show=rolled-back")
    assert _names(b) == [device]
    failures = b.text("#failures")
    assert device in failures and error["message"] in failures and error["remedy"] in failures
    b.click("#failures .dev")
    b.wait("document.querySelector('#detail').open")
    detail = b.text("#detail")
    assert error["name"] in detail and error["remedy"] in detail and "certflipctl device " + device in detail
    assert crowd.gateway.device(device)["slots"]["old"]["fingerprint"] in detail
    assert b.complaints == []


def test_one_is_found_among_many(crowd, page):
    """Search, filters, sorting, pieces; by mouse and by keyboard; and the address keeps it."""
    b = page()
    assert _names(b) == sorted(MANY + crowd.devices + ["hostile"])[:50]
    assert b.text("#range") == "1–50 of 128"
    b.click("#next")
    b.wait("document.querySelector('#range').textContent === '51–100 of 128'")
    b.click("#next")
    b.wait("document.querySelector('#range').textContent === '101–128 of 128'")
    assert b.eval("document.querySelector('#next').disabled")
    b.eval("document.activeElement.blur()")
    b.press("/", "/")
    assert b.eval("document.activeElement.id") == "search"
    b.type("LK-11")
    b.wait("document.querySelector('#range').textContent === '1–10 of 10'")
    assert _names(b) == ["bulk-11%d" % i for i in range(10)]
    assert b.eval("location.hash") == "#search=LK-11"
    b.press("ArrowDown")
    b.press("ArrowDown")
    assert b.eval("document.activeElement.textContent") == "bulk-111"
    b.click("#rows tr:nth-child(2) .dev")
    b.wait("document.querySelector('#detail').open")
    assert b.text("#detail-name") == "bulk-111"
    b.eval("document.querySelector('#detail').close()")
    b.click("th[data-sort=name] button")
    b.wait("document.querySelector('#rows .dev').textContent === 'bulk-119'")
    assert b.eval("document.querySelector('th[data-sort=name]').getAttribute('aria-sort')") == "descending"
    b = page("#sort=expiry")
    assert _names(b)[0] == "hostile"
    b.click("[data-show=staged]")
    staged = crowd.gateway.rpc("status")["devices"]["staged"]
    b.wait("document.querySelector('#found').textContent === '%d devices found'" % staged)
    b.click("[data-show=attention]")
    b.wait("document.querySelector('#rows').innerText.includes('hostile')")
    b = page("#search=nothing-is-called-so")
    assert "No device is like that." in b.text("#rows")


def test_what_devices_say_is_text(crowd, page):
    """Markup in a subject, in a client id, in the configuration and in the address is shown, and does nothing."""
    device = crowd.fresh()
    client = crowd.sensor(device)
    client.connect(HOSTILE)
    b = page("#search=" + "%3Cimg%20src=x%20onerror=alert(3)%3E")
    assert b.eval("document.querySelector('#search').value") == "<img src=x onerror=alert(3)>"
    assert "replaced in June " + HOSTILE in b.text("#exceptions")
    b = page("#search=hostile")
    assert _names(b) == ["hostile"]
    b.click("#rows .dev")
    b.wait("document.querySelector('#detail').open")
    subject = crowd.gateway.device("hostile")["slots"]["old"]["subject"]
    assert "<img" in subject and subject in b.text("#detail")
    b = page("#search=" + device)
    b.click("#rows .dev")
    b.wait("document.querySelector('#detail').open && document.querySelector('#detail').innerText.includes('Client id')")
    assert HOSTILE in b.text("#detail")
    assert b.eval("document.images.length") == 0 and b.eval("document.scripts.length") == 1
    assert b.complaints == []
    client.disconnect()


def test_even_a_fault_of_the_page_would_run_no_script(page):
    """The policy that comes with it lets nothing run that is not of the page, and nothing be loaded from elsewhere."""
    b = page()
    b.eval("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned = 1\">'), 0")
    b.eval("(s => { s.textContent = 'window.owned = 2'; document.body.append(s); })(document.createElement('script')), 0")
    b.eval("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" id=styled>x</p>'), 0")
    until("it is forbidden", lambda: sum("Content Security Policy" in c for c in b.complaints) >= 3, 10)
    assert b.eval("window.owned") is None
    assert b.eval("getComputedStyle(document.querySelector('#styled')).color") != "rgb(255, 0, 0)"
    assert b.eval("fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'refused')") == "refused"
    policy = Web(PORT).ask("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy


# What a text's colour differs from what is behind it, as WCAG 2.1 measures it: the worst of the page.
CONTRAST = """(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const lum = c => { const f = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.closest('svg') || e.disabled || e.closest('.skip')) continue;
    let b = e, back;
    do { back = parse(getComputedStyle(b).backgroundColor); b = b.parentElement; } while (back[3] === 0 && b);
    const x = lum(parse(getComputedStyle(e).color)), y = lum(back);
    const ratio = (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
    if (ratio < worst[0]) worst = [ratio, e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 40)];
  }
  return worst;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_everywhere(crowd, page, dark):
    b = page()
    for width in (1440, 820, 360):
        b.look(width, 900, dark)
        b.wait("innerWidth <= %d" % width)
        assert b.eval("document.documentElement.scrollWidth") <= width, "it has to be moved sideways at %d" % width
        ratio, where = b.eval(CONTRAST)
        assert ratio >= 4.5, (width, dark, ratio, where)
    background = b.eval("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(background) < 60) == dark


def test_a_gateway_that_goes_away_is_said_and_found_again(crowd, page):
    b = page()
    crowd.gateway.stop()
    b.wait("!document.querySelector('#lost').hidden", 20)
    assert "does not answer" in b.text("#lost")
    assert len(_names(b)) == 50, "what was so is still there"
    crowd.gateway.start()
    b.wait("document.querySelector('#lost').hidden", 30)
