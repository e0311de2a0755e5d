/* The view of the fleet: whatever a gateway retains, or a broker makes of it.  Each line of the
 * input is a topic, a blank and a message; the view is walked afterwards. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOT "certflip/v1"

static void take(struct view *v, const char *line, size_t n)
{
    const char *blank = memchr(line, ' ', n);
    size_t len = blank == NULL ? n : (size_t)(blank - line);
    char *topic = strndup(line, len);
    uint64_t before = v->version;
    struct err err = {0};
    int rc;

    if (topic == NULL)
        abort();
    rc = view_take(v, ROOT, topic, blank == NULL ? "" : blank + 1, blank == NULL ? 0 : n - len - 1,
                   1900000000, &err);
    assert(rc <= 1);
    if (rc != 0)
        assert(v->version == before);
    if (rc < 0)
        assert(err.msg[0] != '\0');
    free(topic);
}

static void walk(const struct view *v)
{
    size_t gateways = 0, devices = 0;
    const char *last = "";

    list_for_each (it, &v->gateways) {
        const struct view_gateway *g = list_entry(it, struct view_gateway, link);
        const char *before = "";
        size_t n = 0;

        assert(strcmp(last, g->name) < 0 && view_gateway(v, g->name) == g);
        last = g->name;
        (void)view_device_total(g);
        list_for_each (at, &g->devices) {
            const struct view_device *d = list_entry(at, struct view_device, link);

            assert(strcmp(before, d->name) < 0 && g->sorted[n++] == d && d->gateway == g);
            assert(view_device(v, g->name, d->name) == d);
            assert(view_phase_name((enum view_phase)d->phase) != NULL);
            (void)view_active(d);
            before = d->name;
        }
        assert(n == g->device_count);
        devices += n;
        gateways++;
    }
    assert(gateways == v->gateway_count && devices == v->device_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    struct view v;

    if (view_init(&v) != 0)
        abort();
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        take(&v, at, (size_t)((stop == NULL ? end : stop) - at));
        at = stop == NULL ? end : stop + 1;
    }
    walk(&v);
    view_fini(&v);
    return 0;
}
