/* status/page.c - the page for a browser: see inside.h.
 *
 * It is page.html, built in (page_html.c is made of it by the makefile).  The browser is told to
 * run that script and to use those styles alone, by their digests, so whatever a device is called
 * cannot become a script even if the page had a fault.
 */
#include <stdlib.h>
#include <string.h>

#include "base/base64url.h"
#include "status/inside.h"
#include "tls/cert.h"

/* page_html.c */
extern const unsigned char status_page_html[];
extern const unsigned status_page_html_bytes;

/* What is between the first `begin` and the `end` after it. */
static struct slice between(const char *begin, const char *end)
{
    const unsigned char *all = status_page_html, *last = all + status_page_html_bytes;
    const unsigned char *from = memmem(all, (size_t)(last - all), begin, strlen(begin)), *to;

    if (from == NULL)
        return (struct slice){0};
    from += strlen(begin);
    to = memmem(from, (size_t)(last - from), end, strlen(end));
    return to == NULL ? (struct slice){0} : (struct slice){from, (size_t)(to - from)};
}

/* 'sha256-...', in the base64 of RFC 4648, 4 (Content Security Policy, 2.3.1). */
static int add_digest(struct buf *policy, struct slice of)
{
    uint8_t digest[CERT_FP_BYTES];
    struct buf text = {0};
    int rc = cert_sha256(of.p, of.n, digest);

    if (rc == 0)
        rc = base64url_encode(digest, sizeof(digest), &text);
    for (size_t i = 0; i < text.len; i++)
        text.p[i] = text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i];
    if (rc == 0)
        rc = buf_printf(policy, "'sha256-%.*s='", (int)text.len, (const char *)text.p);
    buf_fini(&text);
    return rc;
}

char *status_page_policy(void)
{
    struct buf policy = {0};

    if (buf_printf(&policy,
                   "default-src 'none'; connect-src 'self'; img-src data:; base-uri "
                   "'none'; form-action 'none'; frame-ancestors 'none'; script-src ") == 0 &&
        add_digest(&policy, between("<script>", "</script>")) == 0 &&
        buf_printf(&policy, "; style-src ") == 0 &&
        add_digest(&policy, between("<style>", "</style>")) == 0 && buf_append_u8(&policy, 0) == 0)
        return (char *)policy.p;
    buf_fini(&policy);
    return NULL;
}

int status_page(struct buf *out)
{
    return buf_append(out, status_page_html, status_page_html_bytes);
}
