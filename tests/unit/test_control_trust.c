/* What depends on each anchor is counted in one walk, and is what each anchor by itself would be
 * told.
 *
 * CERTFLIP_TRUST_DEVICES=10000 tells how long it takes for so many devices.
 */
#include "test_tls_pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "control/trust.h"

/* -- a gateway of plain data --------------------------------------------------------------------
 */

static struct conf_listener listeners[] = {
    {.name = (char *)(uintptr_t) "a", .type = CONF_LISTEN_TLS, .client_cert = CONF_CERT_REQUIRE},
    {.name = (char *)(uintptr_t) "b", .type = CONF_LISTEN_TLS, .client_cert = CONF_CERT_REQUIRE},
};
static struct conf_upstream upstreams[] = {{.name = (char *)(uintptr_t) "main"}};
static struct conf conf = {
    .listeners = listeners, .listener_count = 2, .upstreams = upstreams, .upstream_count = 1};
static struct snapshot_source listener_source[2], upstream_source[1];
static struct trust_change removed = {.side = TRUST_UPSTREAM, .kind = TRUST_REMOVED};
static struct trust_changes changes = {.at = &removed, .count = 1};
static struct wk_snapshot snapshot = {.conf = &conf,
                                      .listener_source = listener_source,
                                      .upstream_source = upstream_source,
                                      .changes = &changes};
static struct hub_device **devices;
static size_t device_count;

struct wk_snapshot *__wrap_hub_snapshot(const struct hub *h);
struct wk_snapshot *__wrap_hub_snapshot(const struct hub *h)
{
    (void)h;
    return &snapshot;
}

struct hub_device *const *__wrap_hub_devices(const struct hub *h, size_t *count);
struct hub_device *const *__wrap_hub_devices(const struct hub *h, size_t *count)
{
    (void)h;
    *count = device_count;
    return devices;
}

static void in_force(struct trust_list *l, const char *file)
{
    assert_int_equal(trust_list_add(l, tls_anchor_ref(pki_anchors(file).anchors[0])), 0);
}

/* Fingerprints that sessions and devices have: all of the sets, one of neither, and none. */
static const char *fps[6];
static struct cred *creds[6];

static int gateway_make(void **state)
{
    static const char *const names[] = {"press-07", "press-new", "press-int", "press-far",
                                        "press-root-sha1"};

    if (pki_setup(state) != 0)
        return -1;
    in_force(&listener_source[0].set.anchors, "ca-old.pem");
    in_force(&listener_source[0].files, "ca-old.pem");
    in_force(&listener_source[0].set.helpers, "ca-int.pem");
    in_force(&listener_source[1].set.anchors, "ca-new.pem");
    in_force(&listener_source[1].set.anchors, "ca-old.pem");
    in_force(&upstream_source[0].set.anchors, "ca-new.pem");
    in_force(&upstream_source[0].files, "ca-old.pem");
    removed.anchor = pki_anchors("ca-old.pem").anchors[0];
    memcpy(removed.fp, removed.anchor->fp, sizeof(removed.fp));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        creds[i] = pki_cred(names[i]);
    fps[0] = pki_anchors("ca-old.pem").anchors[0]->fp;
    fps[1] = pki_anchors("ca-new.pem").anchors[0]->fp;
    fps[2] = pki_anchors("ca-int.pem").anchors[0]->fp;
    fps[3] = pki_anchors("ca-far.pem").anchors[0]->fp;
    fps[4] = fps[5] = "";
    return 0;
}

static int gateway_free(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        trust_set_fini(&listener_source[i].set);
        trust_list_fini(&listener_source[i].files);
    }
    trust_set_fini(&upstream_source[0].set);
    trust_list_fini(&upstream_source[0].files);
    for (size_t i = 0; i < sizeof(creds) / sizeof(creds[0]); i++)
        cred_unref(creds[i]);
    return pki_teardown(state);
}

static uint32_t dice; /* the same in each run */

static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525 + 1013904223;
    return (dice >> 8) % sides;
}

static struct hub_device *device_make(unsigned sessions)
{
    struct hub_device *d = calloc(1, sizeof(*d));

    assert_non_null(d);
    list_init(&d->sessions);
    d->sensor = fps[roll(6)];
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        d->cred[slot] = creds[roll(6)];
    for (unsigned i = 0; i < sessions; i++) {
        struct hub_session *s = calloc(1, sizeof(*s));

        assert_non_null(s);
        s->anchor = fps[roll(6)];
        s->broker = fps[roll(6)];
        s->leg = roll(3) == 0 ? -1 : (int)roll(2);
        list_add(&d->sessions, &s->link);
    }
    return d;
}

static void devices_make(size_t n)
{
    devices = calloc(n + 1, sizeof(struct hub_device *));
    assert_non_null(devices);
    for (device_count = 0; device_count < n; device_count++)
        devices[device_count] = device_make(roll(4));
}

static void devices_free(void)
{
    for (size_t i = 0; i < device_count; i++) {
        list_for_each_safe (it, &devices[i]->sessions)
            free(list_entry(it, struct hub_session, link));
        free(devices[i]);
    }
    free(devices);
    devices = NULL;
    device_count = 0;
}

/* -- what must come out -------------------------------------------------------------------------
 */

/* Of one anchor and one device. */
static void alone(const struct hub_device *d, const struct trust_set *whole,
                  const struct trust_item *item, size_t *depend, size_t *live)
{
    bool down = item->side == TRUST_DOWNSTREAM, depends = down && strcmp(d->sensor, item->fp) == 0;
    size_t sessions = 0;

    list_for_each (it, &d->sessions) {
        const struct hub_session *s = list_entry(it, struct hub_session, link);

        sessions += down ? strcmp(s->anchor, item->fp) == 0
                         : s->leg >= 0 && strcmp(s->broker, item->fp) == 0;
    }
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        const struct tls_anchor *root =
            d->cred[slot] == NULL ? NULL : trust_set_root(whole, d->cred[slot]);

        depends = depends || (root != NULL && strcmp(root->fp, item->fp) == 0);
    }
    *depend += depends || sessions != 0;
    *live += sessions;
}

static void check_items(void)
{
    struct trust_set whole[TRUST_SIDES];
    size_t n = 0;
    struct trust_item *items = trust_items_counted(NULL, &n);

    assert_non_null(items);
    assert_int_equal(n,
                     5); /* old, new, int of the sensors; new and the removed old of the broker */
    for (int side = 0; side < TRUST_SIDES; side++)
        assert_true(trust_whole(NULL, (enum trust_side)side, &whole[side]));
    for (size_t i = 0; i < n; i++) {
        size_t depend = 0, live = 0;

        for (size_t k = 0; k < device_count; k++)
            alone(devices[k], &whole[items[i].side], &items[i], &depend, &live);
        assert_int_equal(items[i].devices, depend);
        assert_int_equal(items[i].sessions, live);
        if (device_count > 50) /* else the test would prove nothing */
            assert_true(live > 0 && depend > 0 && depend < device_count);
    }
    for (int side = 0; side < TRUST_SIDES; side++)
        trust_set_fini(&whole[side]);
    free(items);
}

static void one_walk_counts_for_all(void **state)
{
    (void)state;
    for (dice = 1; dice < 20; dice++) {
        uint32_t seed = dice;

        devices_make(seed == 1 ? 0 : 200);
        check_items();
        devices_free();
        dice = seed;
    }
}

/* A device with two identities and a session of the same anchor is one device. */
static void a_device_counts_once(void **state)
{
    size_t n = 0;
    struct trust_item *items;

    (void)state;
    devices_make(1);
    list_for_each_safe (it, &devices[0]->sessions)
        free(list_entry(it, struct hub_session, link));
    free(devices[0]);
    devices[0] = device_make(2);
    devices[0]->sensor = fps[0];
    devices[0]->cred[FLIP_OLD] = creds[0];
    devices[0]->cred[FLIP_NEW] = creds[2];
    list_for_each (it, &devices[0]->sessions)
        list_entry(it, struct hub_session, link)->anchor = fps[0];
    items = trust_items_counted(NULL, &n);
    assert_non_null(items);
    assert_string_equal(items[0].fp, fps[0]);
    assert_int_equal(items[0].devices, 1);
    assert_int_equal(items[0].sessions, 2);
    free(items);
    devices_free();
}

static void many_devices(void **state)
{
    const char *wanted = getenv("CERTFLIP_TRUST_DEVICES");
    size_t n = 0;
    int64_t at;

    (void)state;
    if (wanted == NULL)
        return;
    dice = 1;
    devices_make(strtoul(wanted, NULL, 10));
    at = clock_mono_us();
    for (int i = 0; i < 10; i++)
        free(trust_items_counted(NULL, &n));
    print_message("%zu anchors, %zu devices: %.2f ms\n", n, device_count,
                  (double)(clock_mono_us() - at) / 10000);
    devices_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_walk_counts_for_all),
        cmocka_unit_test(a_device_counts_once),
        cmocka_unit_test(many_devices),
    };

    return cmocka_run_group_tests(tests, gateway_make, gateway_free);
}
