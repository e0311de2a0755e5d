/* See flip_world.h.  First what stands in for what lies below (store, identities, legs, TLS,
 * greetings, the relay), then a state and back, then the broker, the moves, the invariants. */
#include "flip_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "control/hub_inside.h"
#include "identity/files.h"
#include "identity/slots.h"
#include "lint/files.h"
#include "session/dialect.h"
#include "session/evidence.h"
#include "session/greet.h"
#include "session/relay.h"
#include "session/suspect.h"
#include "tls/keyring.h"

#define LEGS      5u
#define NEWS_MOST 6u
#define MAIL_MOST 4u
#define NOW_MS    INT64_C(1000000)
#define WALL_S    INT64_C(1800000000)
#define SEQ       100u /* of the decision that the workers were told last; older ones are smaller */
#define DEVICE    "d"

/* Where a connection is, seen from its broker. */
enum at_broker { NOTHING, ASKED, ACCEPTED, ENDED };

/* Of a Will.  Of a device that dies before it was told CONNACK, nobody can say. */
enum { MAY = 1, MUST };

/* A leg as plain data; made a struct leg for each step. */
struct small_leg {
    uint8_t used;  /* the session holds it */
    uint8_t ghost; /* the session has let go of it, and the broker has its CONNECT still to read */
    uint8_t state; /* enum leg_state */
    uint8_t slot;
    uint8_t ticket; /* TLS 1.3: 1 on its way, 2 here */
    uint8_t answered, present, watch, reading;
    uint8_t broker;  /* enum at_broker */
    uint8_t connack; /* on its way to us: 1 + code; 0: none */
    uint8_t end;     /* on its way to us: 1 without a word, 2 an alert; 0: none */
    uint8_t goodbye; /* DISCONNECT was said */
    uint8_t spare;   /* dialled as the way back to where the session was */
    uint8_t ping;    /* PINGREQ was said, and has no answer yet */
    uint8_t echoed;  /* the echo came back on it */
};

struct small_news {
    uint8_t kind, what, slot, class, current, session;
};

struct small_mail {
    uint8_t active, current, evidence;
};

struct state {
    /* main */
    struct hub_device hub; /* pointers and links are zero */
    uint8_t queued, back, moving, has_session, retrying, hub_session;
    int8_t session_leg;
    struct flip row; /* what is durable */
    uint8_t disk_full;
    /* between */
    struct small_news news[NEWS_MOST]; /* the oldest first */
    struct small_mail mail[MAIL_MOST];
    uint8_t news_count, mail_count;
    /* worker */
    struct session session;
    uint8_t active, current; /* struct device: slot, and whether the decision is the latest */
    uint8_t evidence;        /* that is wanted, FLIP_PROOF_ bits */
    struct differ differ;
    uint8_t accepted; /* the news of it waits for the leg's answer: 1 + slot; 0: none */
    uint8_t suspicion, suspicion_class, suspicion_silent, suspicion_far; /* 0: none */
    uint8_t session_number, device_on, inflight;
    /* legs and broker */
    struct small_leg legs[LEGS];
    uint8_t later; /* the broker has changed its mind about the new identity */
    /* what an onlooker knows */
    uint8_t will_fired, cut_off, unsaved_use;
    uint8_t will_due;            /* the device died, its Will has not been published: MAY, MUST */
    uint8_t new_accepted;        /* the broker took the new identity since the trial began */
    uint8_t echoed;              /* and an echo came back since */
    uint8_t by_command, in_vain; /* somebody rolled back; a deadline, or the attempts used up */
    uint8_t crashes, cuts, lates;
};

/* There is one world at a time, as the stand-ins below have no argument of ours. */
static struct {
    const struct flip_world_args *args;
    const struct flip_world_mutant *mutant;
    struct hub *hub;
    struct conf conf;
    struct conf_upstream upstream;
    struct wk_snapshot snapshot;
    struct env env;
    uv_loop_t loop;
    struct device device;
    struct session session;
    struct leg leg[LEGS];
    char tls[LEGS];  /* their addresses stand for connections */
    struct state *s; /* in the middle of a step */
    int64_t now_ms;
    uint64_t told_seq;
    struct flip pending;
    bool has_pending;
} here;

static struct small_leg *small_of(const struct leg *leg)
{
    return &here.s->legs[leg - here.leg];
}

/* ---- time and chance stand still ---- */

int64_t __wrap_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void)
{
    return WALL_S;
}

/* It asks clock_wall_s from within one file, where nothing is wrapped. */
int64_t __wrap_clock_date_s(void);
int64_t __wrap_clock_date_s(void)
{
    return WALL_S;
}

int64_t __wrap_clock_mono_us(void);
int64_t __wrap_clock_mono_us(void)
{
    return NOW_MS * 1000;
}

uint64_t __wrap_rand_u64(void);
uint64_t __wrap_rand_u64(void)
{
    return 0;
}

/* What a million steps would log is of no use to anybody. */
void __wrap_log_event(enum log_subsystem sub, enum log_level level, const char *event,
                      const char *fmt, ...);
void __wrap_log_event(enum log_subsystem sub, enum log_level level, const char *event,
                      const char *fmt, ...)
{
    (void)sub;
    (void)level;
    (void)event;
    (void)fmt;
}

/* ---- identities ---- */

struct cred {
    struct cert_info info;
};

static struct cred creds[FLIP_SLOTS];

struct cred *cred_ref(struct cred *c)
{
    return c;
}

void cred_unref(struct cred *c)
{
    (void)c;
}

const struct cert_info *cred_leaf(const struct cred *c)
{
    return &c->info;
}

bool cred_equal(const struct cred *a, const struct cred *b)
{
    return a == b;
}

enum cred_rest cred_rest(const struct cred *c)
{
    (void)c;
    return CRED_PLAIN;
}

bool keyring_encrypts(void)
{
    return false;
}

bool cred_is_usable(const struct cred *c, const char **what, struct err *err)
{
    (void)c;
    (void)what;
    (void)err;
    return true;
}

size_t cred_chain(const struct cred *c, struct slice *out, size_t max)
{
    (void)c;
    (void)out;
    (void)max;
    return 0; /* nothing is found in it */
}

int lint_run(const struct lint_input *in, struct lint_report *out)
{
    (void)in;
    *out = (struct lint_report){0};
    return 0;
}

int hub_lint_read(const struct conf *conf, struct lint_anchors **anchors, struct crl_set **crls,
                  struct err *err)
{
    (void)conf;
    (void)err;
    *anchors = NULL;
    *crls = NULL;
    return 0;
}

bool hub_lint_take(struct hub *h, struct lint_anchors *anchors, struct crl_set *crls)
{
    (void)h;
    (void)anchors;
    (void)crls;
    return false;
}

void hub_lint_drop(struct lint_anchors *anchors, struct crl_set *crls)
{
    (void)anchors;
    (void)crls;
}

bool hub_lint_revoked(const struct hub *h, struct slice der)
{
    (void)h;
    (void)der;
    return false;
}

int slots_scan(const char *dir, int (*each)(void *arg, const char *device), void *arg,
               struct err *err)
{
    (void)dir;
    (void)err;
    return each(arg, DEVICE) < 0 ? -ERR_IO : 1;
}

int slots_load(const char *dir, const char *device, struct slots *out, struct err *err)
{
    (void)dir;
    (void)device;
    (void)err;
    *out = (struct slots){.cred = {&creds[FLIP_OLD], &creds[FLIP_NEW]}, .present = {true, true}};
    return 0;
}

void slots_fini(struct slots *s)
{
    (void)s;
}

/* Nobody here commands what changes files. */

int files_sweep(const char *dir, const char *device, const char *old_fp, struct err *err)
{
    (void)dir;
    (void)device;
    (void)old_fp;
    (void)err;
    return 0;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define NOT_HERE(name, ...) \
    int name(__VA_ARGS__)   \
    {                       \
        abort();            \
    }

/* clang-format off */
NOT_HERE(files_put_slot, const char *a, const char *b, enum flip_slot c, const struct files_slot *d, char **e, struct err *f)
NOT_HERE(files_unput_slot, const char *a, const char *b, enum flip_slot c, char *d, struct err *e)
NOT_HERE(files_take_slot, const char *a, const char *b, enum flip_slot c, char **d, struct err *e)
NOT_HERE(files_restore_slot, const char *a, const char *b, enum flip_slot c, char *d, struct err *e)
NOT_HERE(files_retire, const char *a, const char *b, int64_t c, const char *d, char **e, struct err *f)
NOT_HERE(files_unretire, const char *a, const char *b, char *c, struct err *d)
/* clang-format on */
#pragma GCC diagnostic pop

void files_destroy(char *aside)
{
    free(aside);
}

const struct conf_rule *conf_rule_find(const struct conf *c, const char *device)
{
    (void)c;
    (void)device;
    return NULL;
}

struct wk_snapshot *snapshot_ref(struct wk_snapshot *s)
{
    return s;
}

void snapshot_unref(struct wk_snapshot *s)
{
    (void)s;
}

/* ---- the store: one row ---- */

int store_begin(struct store *s, struct err *err)
{
    (void)s;
    (void)err;
    here.has_pending = false;
    return 0;
}

int store_commit(struct store *s, struct err *err)
{
    (void)s;
    if (here.s->disk_full)
        return err_set(err, ERR_STORE, "disk full");
    if (here.has_pending && (here.mutant == NULL || !here.mutant->forgets_save))
        here.s->row = here.pending;
    return 0;
}

int store_settle(struct store *s)
{
    (void)s;
    return here.s->disk_full ? -ERR_STORE : 0;
}

void store_rollback(struct store *s)
{
    (void)s;
    here.has_pending = false;
}

int store_device_put_many(struct store *s, const struct store_device *d, size_t n, struct err *err)
{
    (void)s;
    (void)err;
    assert_int_equal(n, 1);
    here.pending = d->flip;
    here.has_pending = true;
    return 0;
}

int store_device_get(struct store *s, const char *name, struct store_device *out, struct err *err)
{
    (void)s;
    (void)err;
    *out = (struct store_device){.flip = here.s->row,
                                 .begin_by_s = here.s->row.begin_by_ms != 0 ? WALL_S : 0,
                                 .dead_left_ms =
                                     here.s->row.dead_ms != 0 ? here.s->row.dead_ms - NOW_MS : 0,
                                 .saved_s = WALL_S,
                                 .boot = "boot"};
    snprintf(out->name, sizeof out->name, "%s", name);
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        str_hex(out->fp[slot], creds[slot].info.fp, CERT_FP_BYTES);
    return 0;
}

int store_audit_add(struct store *s, const char *who, const char *what, const char *target,
                    const char *outcome, struct err *err)
{
    (void)s;
    (void)who;
    (void)what;
    (void)target;
    (void)outcome;
    (void)err;
    return 0;
}

int store_audit_each(struct store *s, int64_t after_seq, unsigned limit,
                     int (*each)(void *arg, const struct store_audit *a), void *arg,
                     struct err *err)
{
    (void)s;
    (void)after_seq;
    (void)limit;
    (void)each;
    (void)arg;
    (void)err;
    return 0;
}

int store_command_put(struct store *s, const char *id, const char *reply, struct err *err)
{
    (void)s;
    (void)id;
    (void)reply;
    (void)err;
    return 0;
}

int store_sensor_put(struct store *s, const char *device, const char *anchor, struct err *err)
{
    (void)s;
    (void)device;
    (void)anchor;
    (void)err;
    return 0;
}

int store_sensor_each(struct store *s,
                      int (*each)(void *arg, const char *device, const char *anchor), void *arg,
                      struct err *err)
{
    (void)s;
    (void)each;
    (void)arg;
    (void)err;
    return 0;
}

int store_value_get(struct store *s, const char *key, int64_t *out, struct err *err)
{
    (void)s;
    (void)key;
    (void)err;
    *out = 0;
    return 0;
}

int store_value_put(struct store *s, const char *key, int64_t v, struct err *err)
{
    (void)s;
    (void)key;
    (void)v;
    (void)err;
    return 0;
}

/* ---- between the threads ---- */

static void sink_post(void *arg, unsigned worker, struct msg *m)
{
    struct state *s = here.s;

    (void)arg;
    (void)worker;
    if (m->kind == MSG_DEVICE) {
        if (m->u.dev.flip_seq != here.told_seq) {
            for (unsigned i = 0; i < s->news_count; i++)
                s->news[i].current = 0;
            for (unsigned i = 0; i < s->mail_count; i++)
                s->mail[i].current = 0;
            s->current = 0;
        }
        here.told_seq = m->u.dev.flip_seq;
        if (s->mail_count == MAIL_MOST) /* a worker that is slow sees the last ones at once */
            memmove(s->mail, s->mail + 1, (MAIL_MOST - 1) * sizeof *s->mail);
        else
            s->mail_count++;
        s->mail[s->mail_count - 1] =
            (struct small_mail){(uint8_t)m->u.dev.active, 1, (uint8_t)m->u.dev.evidence};
    }
    msg_free(m);
}

static void sink_changed(void *arg, const char *device)
{
    (void)arg;
    (void)device;
}

static void sink_event(void *arg, const struct hub_event *ev)
{
    (void)arg;
    (void)ev;
}

static void sink_wake(void *arg, int64_t at_ms)
{
    (void)arg;
    (void)at_ms;
}

static int64_t sink_wall_s(void *arg)
{
    (void)arg;
    return WALL_S;
}

static int64_t sink_now_ms(void *arg)
{
    (void)arg;
    return here.now_ms;
}

static void push_news(struct small_news n)
{
    struct state *s = here.s;

    assert_true(s->news_count < NEWS_MOST);
    n.current = s->current;
    n.session = s->session_number;
    s->news[s->news_count++] = n;
}

static void news_up(void *arg, const struct session *s)
{
    (void)arg;
    (void)s;
    push_news((struct small_news){.kind = MSG_UP});
}

static void news_down(void *arg, const struct session *s, const char *why)
{
    (void)arg;
    (void)s;
    (void)why;
    push_news((struct small_news){.kind = MSG_DOWN});
}

static void news_leg(void *arg, const struct session *s, const struct session_leg_news *n)
{
    static const enum msg_leg_what what[] = {
        [LEG_NEWS_ACCEPTED] = MSG_LEG_ACCEPTED, [LEG_NEWS_FAILED] = MSG_LEG_FAILED,
        [LEG_NEWS_LOST] = MSG_LEG_LOST,         [LEG_NEWS_PROVEN] = MSG_LEG_PROVEN,
        [LEG_NEWS_REFUSED] = MSG_LEG_REFUSED,
    };

    (void)arg;
    (void)s;
    push_news((struct small_news){.kind = MSG_LEG,
                                  .what = (uint8_t)what[n->what],
                                  .slot = (uint8_t)n->slot,
                                  .class = n->diag != NULL ? (uint8_t)n->diag->class : DIAG_OK});
}

static void news_refused(void *arg, const char *listener, const char *peer, const char *device,
                         const char *code, const char *text)
{
    (void)arg;
    (void)listener;
    (void)peer;
    (void)device;
    (void)code;
    (void)text;
}

static const struct session_news news_calls = {news_up, news_down, news_leg, news_refused};

static enum policy policy_of(const struct state *s, unsigned slot)
{
    if (slot == FLIP_OLD)
        return here.args->old_policy;
    return s->later ? here.args->new_policy_later : here.args->new_policy;
}

/* ---- legs ---- */

struct leg *leg_dial(struct env *env, const struct conf_upstream *profile, struct tls_ctx *ctx,
                     struct cred *cred, const struct leg_ops *ops, void *owner, struct err *err)
{
    (void)profile;
    (void)ctx;
    (void)err;
    for (unsigned i = 0; i < LEGS; i++) {
        if (here.s->legs[i].used || here.s->legs[i].ghost)
            continue;
        here.s->legs[i] = (struct small_leg){
            .used = 1, .state = LEG_DIALING, .slot = cred == &creds[FLIP_NEW], .watch = 1};
        here.leg[i] = (struct leg){.env = env,
                                   .ops = ops,
                                   .owner = owner,
                                   .cred = cred,
                                   .tls = (struct tls_conn *)(void *)&here.tls[i],
                                   .state = LEG_DIALING,
                                   .watch = true};
        return &here.leg[i];
    }
    print_error("no leg is left\n");
    abort();
}

/* The standard's rule: a connection that ends without DISCONNECT publishes the Will. */
static void broker_ends(struct small_leg *l)
{
    struct state *s = here.s;

    if (l->broker == ACCEPTED && !l->goodbye && here.args->has_will) {
        if (s->will_due)
            s->will_due = 0;
        else
            s->will_fired = 1;
    }
    l->broker = ENDED;
}

void leg_close_gentle(struct leg **legp)
{
    struct leg *leg = *legp;

    *legp = NULL;
    if (leg == NULL)
        return;
    struct small_leg *l = small_of(leg);
    bool asked = l->broker == ASKED && policy_of(here.s, l->slot) != NEVER_ANSWERS;
    if (!asked)
        broker_ends(l);
    *l = (struct small_leg){.ghost = asked,
                            .slot = l->slot,
                            .broker = asked ? ASKED : NOTHING,
                            .goodbye = asked ? l->goodbye : 0};
    leg->owner = NULL;
    leg->state = LEG_CLOSED;
}

void leg_part(struct leg *leg, struct presence *presence, uint32_t home)
{
    (void)leg;
    (void)presence;
    (void)home;
}

void leg_close_abrupt(struct leg **legp)
{
    leg_close_gentle(legp);
}

void leg_read(struct leg *leg, bool on)
{
    leg->st.reading = on;
}

static struct leg_end end_of(const struct small_leg *l, struct tls_fail *fail);

void leg_read_now(struct leg *leg)
{
    struct small_leg *l = small_of(leg);
    struct tls_fail fail;

    if (l->end == 0)
        return;
    struct leg_end end = end_of(l, &fail);
    leg->ops->end(leg, &end);
}

void leg_hear_out(struct leg *leg)
{
    (void)leg; /* a device that is taken over has said all */
}

void leg_write(struct leg *leg, const void *p, size_t n)
{
    struct small_leg *l = small_of(leg);
    struct state *s = here.s;

    if (n == 0 || leg->state != LEG_OPEN)
        return;
    if (*(const uint8_t *)p >> 4 == MQTT_CONNECT && l->broker == NOTHING) {
        l->broker = ASKED;
        bool allowed = s->row.phase == FLIP_TRIAL || s->row.phase == FLIP_COMMITTED;
        /* Where the old one is refused, the new one is better than none; and who cannot go back
         * stays where he was. */
        if (l->slot == FLIP_NEW && !allowed && s->mail_count == 0 && !l->spare &&
            here.args->old_policy == ACCEPTS)
            s->unsaved_use = 1;
    }
}

void leg_flush(struct leg *leg)
{
    (void)leg;
}

size_t leg_queued(const struct leg *leg)
{
    (void)leg;
    return 0;
}

void session_count_gap(struct env *env, const struct tls_conn *tls)
{
    (void)env;
    (void)tls;
}

void session_count_ocsp(struct session *s, const struct leg *leg)
{
    (void)s;
    (void)leg;
}

bool tls_conn_ticket_seen(const struct tls_conn *c)
{
    return here.s->legs[(const char *)c - here.tls].ticket == 2;
}

bool tls_conn_resumed(const struct tls_conn *c)
{
    (void)c;
    return false;
}

bool tls_conn_cert_sent(const struct tls_conn *c)
{
    (void)c;
    return true;
}

const char *tls_conn_version(const struct tls_conn *c)
{
    (void)c;
    return here.args->tls13 ? "TLSv1.3" : "TLSv1.2";
}

const char *tls_conn_cipher(const struct tls_conn *c)
{
    (void)c;
    return "none";
}

/* ---- greetings, relay, session ---- */

int greet_connect(const struct session *s, enum flip_slot slot, const struct dialect *dialect,
                  enum greet_aim aim, struct buf *out, struct greet_wish *wish)
{
    (void)s;
    (void)slot;
    (void)dialect;
    (void)aim;
    *wish = (struct greet_wish){.keep = true};
    return buf_append_u8(out, MQTT_CONNECT << 4);
}

void greet_disconnect(struct leg *leg, uint8_t reason, bool set_expiry, uint32_t expiry_s)
{
    (void)reason;
    (void)set_expiry;
    (void)expiry_s;
    small_of(leg)->goodbye = 1;
}

int greet_device(struct session *s, const struct mqtt_connack *ack)
{
    (void)s;
    (void)ack;
    return 0;
}

void greet_heard(struct session *s, struct leg *leg, const struct mqtt_connack *ack)
{
    (void)s;
    (void)leg;
    (void)ack;
}

int dialect_new(const struct session *s, const struct conf_upstream *u, struct dialect **out,
                struct err *err)
{
    (void)s;
    (void)u;
    (void)err;
    *out = NULL;
    return 0;
}

uint8_t dialect_version(const struct session *s, const struct conf_upstream *u)
{
    (void)u;
    return s->version;
}

bool relay_drained(const struct session *s)
{
    (void)s;
    return here.s->inflight == 0;
}

bool relay_ping(struct session *s)
{
    small_of(s->up)->ping = 1;
    s->ping_since_ms = (uint64_t)NOW_MS;
    return true;
}

void relay_answer_pings(struct session *s)
{
    s->ping_since_ms = 0;
}

void relay_release(struct session *s)
{
    (void)s;
}

void relay_restore(struct session *s, bool session_present, uint32_t *replayed, uint32_t *restored,
                   uint32_t *lost)
{
    (void)s;
    (void)session_present;
    (void)replayed;
    (void)restored;
    (void)lost;
}

void relay_from_broker(struct session *s, struct leg *leg, const uint8_t *p, size_t n)
{
    (void)s;
    (void)leg;
    (void)p;
    (void)n;
}

void pace_tell(const struct session *s)
{
    (void)s;
}

void evidence_leg(struct session *s)
{
    (void)s;
}

void evidence_leg_gone(struct session *s)
{
    (void)s;
}

void evidence_leave(struct session *s)
{
    (void)s;
}

uint32_t greet_home(const struct session *s, enum flip_slot slot, enum greet_home what)
{
    (void)s;
    (void)slot;
    (void)what;
    return 1;
}

void cleaner_yield(struct device *dev, uint32_t home)
{
    (void)dev;
    (void)home;
}

void cleaner_take(struct session *s, struct leg **leg)
{
    (void)s;
    leg_close_gentle(leg);
}

void cleaner_start(struct session *s, enum flip_slot slot, struct leg **last, bool with_will)
{
    (void)s;
    (void)slot;
    leg_close_gentle(last);
    if (with_will)
        here.s->will_due = 0;
}

void session_arm(struct session *s)
{
    (void)s;
}

void session_carry_on(struct session *s)
{
    (void)s;
}

void session_reading(struct session *s)
{
    (void)s;
}

void session_flush(struct session *s)
{
    (void)s;
}

bool session_hears(const struct session *s)
{
    (void)s;
    return false; /* so that no keepalive of the device runs out */
}

void session_tell_refused(struct session *s, const char *code, const char *text)
{
    (void)s;
    (void)code;
    (void)text;
}

static void session_over(struct session *s, bool polite)
{
    here.env.news->down(NULL, s, "");
    here.s->device_on = 0;
    upstream_goodbye(s, polite);
    suspect_drop(s);
    s->state = SESSION_OVER;
    upstream_gate(s);
    free(s->accepted_news);
    s->accepted_news = NULL;
}

void session_end(struct session *s, uint8_t reason, bool polite, const char *why)
{
    (void)reason;
    (void)why;
    if (s->state == SESSION_OVER)
        return;
    if (s->state == SESSION_RELAYING && !s->died)
        here.s->cut_off = 1;
    session_over(s, polite);
}

void session_refuse(struct session *s, uint8_t reason5, const char *code, const struct err *err)
{
    (void)reason5;
    (void)code;
    (void)err;
    if (s->state != SESSION_OVER)
        session_over(s, true);
}

const struct conf_upstream *conf_upstream_find(const struct conf *c, const char *name)
{
    (void)name;
    return &c->upstreams[0];
}

/* ---- mutants ---- */

unsigned __real_rehome_step(enum rehome_phase *phase, enum rehome_event ev);
unsigned __wrap_rehome_step(enum rehome_phase *phase, enum rehome_event ev);

unsigned __wrap_rehome_step(enum rehome_phase *phase, enum rehome_event ev)
{
    const struct flip_world_mutant *m = here.mutant;
    enum rehome_phase was = *phase;
    unsigned todo = __real_rehome_step(phase, ev);

    if (m == NULL || !m->rehome.broken || m->rehome.phase != was || m->rehome.event != ev)
        return todo;
    if (m->rehome.goes)
        *phase = m->rehome.next;
    return (todo & ~m->rehome.drop) | m->rehome.add;
}

int __real_flip_step(struct flip *f, enum flip_event ev, int64_t now_ms);
int __wrap_flip_step(struct flip *f, enum flip_event ev, int64_t now_ms);

int __wrap_flip_step(struct flip *f, enum flip_event ev, int64_t now_ms)
{
    const struct flip_world_mutant *m = here.mutant;
    enum flip_phase was = f->phase;
    int todo = __real_flip_step(f, ev, now_ms);

    if (ev == EV_DEADLINE || (was == FLIP_TRIAL && ev == EV_RESTARTED && f->phase != FLIP_TRIAL))
        here.s->in_vain = 1;
    if (m == NULL || !m->flip.broken || m->flip.phase != was || m->flip.event != ev || todo < 0)
        return todo;
    if (m->flip.goes) {
        f->phase = m->flip.next;
        if (f->phase != FLIP_TRIAL) { /* so that it is a legal one */
            f->attempts = 0;
            f->accepted = false;
            f->due_ms = f->dead_ms = 0;
        }
    }
    return (todo & ~m->flip.drop) | m->flip.add;
}

struct diag __real_diag_settle(const struct diag *d, bool other_works);
struct diag __wrap_diag_settle(const struct diag *d, bool other_works);

struct diag __wrap_diag_settle(const struct diag *d, bool other_works)
{
    return __real_diag_settle(d, here.mutant != NULL && here.mutant->settles_wrongly ? !other_works
                                                                                     : other_works);
}

/* ---- a state, and back ---- */

static struct hub_device *the_device(void)
{
    return hub_find(here.hub, DEVICE);
}

/* What belongs to this hub and not to the state. */
static void keep_pointers(struct hub_device *to, const struct hub_device *from)
{
    to->name = from->name;
    to->presence = from->presence;
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        to->cred[slot] = from->cred[slot];
        to->fault[slot] = from->fault[slot];
    }
}

static void load_hub(const struct state *s)
{
    struct hub_device *d = the_device();
    struct hub_device keep = *d;

    *d = s->hub;
    keep_pointers(d, &keep);
    list_init(&d->sessions);
    memset(&d->due, 0, sizeof d->due);
    list_init(&d->queue_link);
    list_init(&d->dirty_link);
    hub_set_due(here.hub, d);
    if (s->queued)
        list_add(s->back ? &here.hub->back : &here.hub->queue, &d->queue_link);
    if (s->moving)
        list_add(&here.hub->moving, &d->queue_link);
    here.hub->queue_count = s->queued;
    here.hub->moving_count = s->moving;
    /* Whether it may move by now is not asked: the pace has tests of its own. */
    pace_init(&here.hub->pace);
    here.hub->pace.under_way = s->moving;
    here.hub->queueing = s->queued;
    here.hub->retrying = s->retrying;
    here.hub->wake_ms = here.hub->ticked_ms = 0;
    if (s->has_session) {
        struct hub_session *hs = calloc(1, sizeof *hs);
        assert_non_null(hs);
        hs->id = s->hub_session;
        hs->leg = s->session_leg;
        list_init(&hs->link);
        list_add(&d->sessions, &hs->link);
    }
}

static int64_t calm(int64_t when_ms, int64_t in_ms)
{
    return when_ms == 0 ? 0 : NOW_MS + in_ms;
}

static void calm_flip(struct flip *f)
{
    f->due_ms = calm(f->due_ms, f->probation_ms);
    f->dead_ms = calm(f->dead_ms, f->confirm_ms);
    f->begin_by_ms = calm(f->begin_by_ms, 500);
}

static void save_hub(struct state *s)
{
    struct hub_device *d = the_device();

    s->queued = d->queued;
    s->back = d->queued && !list_empty(&here.hub->back);
    s->moving = d->moving;
    s->retrying = here.hub->retrying;
    s->has_session = !list_empty(&d->sessions);
    if (s->has_session) {
        struct hub_session *hs = list_entry(d->sessions.next, struct hub_session, link);
        s->hub_session = (uint8_t)hs->id;
        s->session_leg = (int8_t)hs->leg;
        assert_true(d->sessions.next->next == &d->sessions);
        hub_session_free(hs);
    } else {
        s->hub_session = 0;
        s->session_leg = -1;
    }
    heap_del(&here.hub->due, &d->due);
    list_del(&d->queue_link);
    list_del(&d->dirty_link);
    hub_replace(&d->reason, NULL);
    hub_replace(&d->saved_reason, NULL);
    hub_replace(&d->retry_cause, NULL);
    free(d->leg);
    free(d->error);
    free(d->proof);
    free(d->saved_proof);
    free(d->refusals);
    d->leg = NULL;
    d->error = NULL;
    d->proof = d->saved_proof = NULL;
    d->refusals = NULL;
    d->round = 0;
    /* Numbers that only grow are told apart no further than it matters. */
    d->seq = d->seq > d->told_seq ? SEQ + 1 : SEQ;
    d->told_seq = SEQ;
    d->changed_s = 0;
    d->old_failures = d->old_failures > 1 ? 1 : d->old_failures;
    d->try_old_from_ms = calm(d->try_old_from_ms, 700);
    d->moving_until_ms = d->moving ? NOW_MS + 900 : 0;
    calm_flip(&d->flip);
    calm_flip(&d->saved);
    memcpy(&s->hub, d, sizeof s->hub);
    struct hub_device none = {0};
    keep_pointers(&s->hub, &none);
    s->hub.sessions = s->hub.queue_link = s->hub.dirty_link = none.sessions;
    memset(&s->hub.due, 0, sizeof s->hub.due);
    calm_flip(&s->row);
}

static void load(struct state *s)
{
    here.s = s;
    here.now_ms = NOW_MS;
    here.told_seq = SEQ;
    load_hub(s);
    memcpy(&here.session, &s->session, sizeof here.session);
    if (s->suspicion) {
        struct suspicion *x = calloc(1, sizeof *x);
        assert_non_null(x);
        x->diag.class = (enum diag_class)s->suspicion_class;
        x->diag.silent = s->suspicion_silent;
        x->far = (enum differ_far)s->suspicion_far;
        here.session.suspicion = x;
    }
    if (s->accepted != 0) {
        struct session_leg_news *n = calloc(1, sizeof *n);
        assert_non_null(n);
        *n = (struct session_leg_news){.what = LEG_NEWS_ACCEPTED,
                                       .slot = (enum flip_slot)(s->accepted - 1),
                                       .cred = &creds[s->accepted - 1],
                                       .tls = ""};
        here.session.accepted_news = n;
    }
    /* How many dial at once is not asked: the gate has tests of its own. */
    env_gates_init(&here.env);
    here.env.gate[0].gate.under_way = here.session.counted != NULL;
    here.device.differ = s->differ;
    here.device.active = (enum flip_slot)s->active;
    here.device.evidence = s->evidence;
    here.device.flip_seq = s->current ? SEQ : SEQ - 1;
    for (unsigned i = 0; i < LEGS; i++) {
        const struct small_leg *l = &s->legs[i];
        here.leg[i].state = l->used ? (enum leg_state)l->state : LEG_CLOSED;
        here.leg[i].slot = (enum flip_slot)l->slot;
        here.leg[i].owner = l->used ? &here.session : NULL;
        here.leg[i].cred = &creds[l->slot];
        here.leg[i].version = MQTT_V311;
        here.leg[i].at_ms = (uint64_t)NOW_MS;
        here.leg[i].keep = true;
        here.leg[i].answered = l->answered;
        here.leg[i].session_present = l->present;
        here.leg[i].watch = l->watch;
        here.leg[i].st.reading = l->reading;
        here.leg[i].ended = false;
    }
}

static void save(struct state *s)
{
    struct session *ses = &here.session;

    save_hub(s);
    s->active = (uint8_t)here.device.active;
    s->differ = here.device.differ;
    s->suspicion = ses->suspicion != NULL;
    s->suspicion_class = s->suspicion ? (uint8_t)ses->suspicion->diag.class : 0;
    s->suspicion_silent = s->suspicion && ses->suspicion->diag.silent;
    s->suspicion_far = s->suspicion ? (uint8_t)ses->suspicion->far : 0;
    free(ses->suspicion);
    ses->suspicion = NULL;
    s->accepted = ses->accepted_news != NULL ? (uint8_t)(1 + ses->accepted_news->slot) : 0;
    free(ses->accepted_news);
    ses->accepted_news = NULL;
    assert_true(ses->at_gate.next == NULL || list_empty(&ses->at_gate));
    if (ses->refused_seq != 0)
        ses->refused_seq =
            ses->refused_seq == here.device.flip_seq ? (s->current ? SEQ : SEQ - 1) : 0;
    if (ses->backoff.attempt > 1)
        ses->backoff.attempt = 1;
    ses->failed_times = 0; /* how often it is logged is no matter here */
    memset(ses->failed_cause, 0, sizeof ses->failed_cause);
    if (ses->retry_ms != 0)
        ses->retry_ms = (uint64_t)NOW_MS + 800;
    if (ses->state == SESSION_OVER)
        memset(ses, 0, sizeof *ses);
    memcpy(&s->session, ses, sizeof s->session);
    for (unsigned i = 0; i < LEGS; i++) {
        struct small_leg *l = &s->legs[i];
        if (!l->used)
            continue;
        l->spare |= &here.leg[i] == ses->spare;
        l->state = (uint8_t)here.leg[i].state;
        l->slot = (uint8_t)here.leg[i].slot;
        l->answered = here.leg[i].answered;
        l->present = here.leg[i].session_present;
        l->watch = here.leg[i].watch;
        l->reading = here.leg[i].st.reading;
    }
    here.s = NULL;
}

/* ---- the broker ---- */

static struct leg_end end_of(const struct small_leg *l, struct tls_fail *fail)
{
    *fail = (struct tls_fail){.side = l->end == 2 ? TLS_FAIL_PEER_ALERT : TLS_FAIL_EOF,
                              .alert = l->end == 2 ? 48 : -1,
                              .alert_sent = -1,
                              .after_hello = true,
                              .after_cert = true,
                              .established = l->state == LEG_OPEN};
    return (struct leg_end){.at = (enum leg_state)l->state, .fail = fail};
}

static void deliver_end(unsigned i)
{
    struct tls_fail fail;
    struct leg_end end = end_of(&here.s->legs[i], &fail);

    here.leg[i].ended = true;
    here.s->legs[i].end = 0;
    if (here.s->legs[i].broker == ASKED) /* it has gone without reading that */
        here.s->legs[i].broker = ENDED;
    here.leg[i].ops->end(&here.leg[i], &end);
}

static void tls_up(unsigned i)
{
    struct small_leg *l = &here.s->legs[i];
    enum policy p = policy_of(here.s, l->slot);

    if (p == REFUSES_IN_TLS || p == CLOSES_IN_TLS)
        l->end = p == REFUSES_IN_TLS ? 2 : 1;
    if (!here.args->tls13 && l->end != 0) {
        l->state = LEG_TLS;
        here.leg[i].state = LEG_TLS;
        deliver_end(i);
        return;
    }
    l->state = LEG_OPEN;
    l->ticket = here.args->tls13 && l->end == 0;
    here.leg[i].state = LEG_OPEN;
    here.leg[i].ops->open(&here.leg[i]);
}

/* The broker reads CONNECT. */
static void process(unsigned i)
{
    struct state *s = here.s;
    struct small_leg *l = &s->legs[i];
    enum policy p = policy_of(s, l->slot);

    if (p == ACCEPTS || p == FALLS_SILENT) {
        for (unsigned j = 0; j < LEGS; j++) {
            if (j == i || s->legs[j].broker != ACCEPTED)
                continue;
            broker_ends(&s->legs[j]);
            s->legs[j].end = 1;
        }
        l->broker = ACCEPTED;
        l->connack = 1;
        if (l->slot == FLIP_NEW && p == ACCEPTS)
            s->new_accepted = 1;
    } else {
        l->broker = ENDED;
        l->connack = p == REFUSES_IN_CONNACK ? 1 + 5 : 0;
        l->end = 1;
    }
    if (l->ghost) {
        broker_ends(l);
        *l = (struct small_leg){0};
    }
}

static void deliver_connack(unsigned i)
{
    struct small_leg *l = &here.s->legs[i];
    const uint8_t packet[] = {MQTT_CONNACK << 4, 2, l->connack == 1, (uint8_t)(l->connack - 1)};

    l->connack = 0;
    here.leg[i].ops->data(&here.leg[i], packet, sizeof packet);
}

/* ---- moves ---- */

enum move {
    FLIP,
    ROLL_BACK,
    CONFIRM,
    CLEAR,
    TICK,     /* what the flip waits for is due */
    TRY_TIME, /* the wait before the old identity is tried again is over */
    TURN,     /* the turn to move ends by its bound */
    SAVE_AGAIN,
    TO_WORKER,
    TO_MAIN,
    DEVICE_COMES,
    DEVICE_LEAVES,
    DEVICE_DIES,
    LEAVE_DUE, /* who left in a switch is not waited for any longer */
    EXCHANGE_BEGINS,
    EXCHANGE_ENDS,
    DUE,
    SILENT, /* no answer to PINGREQ came in time */
    RETRY,
    CRASH,
    DISK_FULL,
    DISK_FREE,
    BROKER_CHANGES,
    TLS_UP, /* and so on for each leg */
    TICKET = TLS_UP + LEGS,
    PROCESS = TICKET + LEGS,
    CONNACK = PROCESS + LEGS,
    END = CONNACK + LEGS,
    GOODBYE = END + LEGS,
    PONG = GOODBYE + LEGS,
    ECHOES = PONG + LEGS,
    NET_REFUSES = ECHOES + LEGS,
    NET_CUTS = NET_REFUSES + LEGS,
    MOVES = NET_CUTS + LEGS
};

static const struct {
    int first;
    const char *name;
} names[] = {
    {FLIP, "flip"},
    {ROLL_BACK, "rollback"},
    {CONFIRM, "confirm"},
    {CLEAR, "quarantine clear"},
    {TICK, "due for the flip"},
    {TRY_TIME, "old may be tried"},
    {TURN, "turn is over"},
    {SAVE_AGAIN, "save again"},
    {TO_WORKER, "worker is told"},
    {TO_MAIN, "main is told"},
    {DEVICE_COMES, "device comes"},
    {DEVICE_LEAVES, "device leaves"},
    {DEVICE_DIES, "device dies"},
    {LEAVE_DUE, "waited long enough"},
    {EXCHANGE_BEGINS, "exchange begins"},
    {EXCHANGE_ENDS, "exchange ends"},
    {DUE, "step is due"},
    {SILENT, "no answer in time"},
    {RETRY, "retry is due"},
    {CRASH, "killed and started"},
    {DISK_FULL, "disk full"},
    {DISK_FREE, "disk free"},
    {BROKER_CHANGES, "broker changes its mind"},
    {TLS_UP, "TLS is up"},
    {TICKET, "ticket comes"},
    {PROCESS, "broker reads CONNECT"},
    {CONNACK, "CONNACK comes"},
    {END, "end comes"},
    {GOODBYE, "broker reads DISCONNECT"},
    {PONG, "PINGRESP comes"},
    {ECHOES, "echo comes"},
    {NET_REFUSES, "network refuses"},
    {NET_CUTS, "network cuts"},
};

static void name_move(void *arg, unsigned move, char *out, size_t n)
{
    size_t i = sizeof names / sizeof names[0];

    (void)arg;
    while (names[--i].first > (int)move) {
    }
    if (move >= TLS_UP)
        snprintf(out, n, "%s %u", names[i].name, move - (unsigned)names[i].first);
    else
        snprintf(out, n, "%s", names[i].name);
}

static const struct hub_terms *terms(void)
{
    static struct hub_terms t;

    t = (struct hub_terms){.confirm = here.args->confirm_central ? FLIP_CONFIRM_CENTRAL
                                                                 : FLIP_CONFIRM_AUTO,
                           .evidence = here.args->echo ? FLIP_PROOF_ECHO : FLIP_PROOF_CONNACK,
                           .probation_ms = 100,
                           .confirm_ms = 600};
    return &t;
}

static bool command(enum flip_event ev)
{
    struct rpc_fault f = {0};
    char fp[CERT_FP_TEXT];
    bool changed = false;

    str_hex(fp, creds[FLIP_NEW].info.fp, CERT_FP_BYTES);
    int rc = hub_command(here.hub, the_device(), ev, terms(), ev == EV_CONFIRMED ? fp : NULL, NULL,
                         "somebody", &changed, &f);
    if (rc != 0 || !changed) {
        rpc_fault_fini(&f);
        return false;
    }
    (void)hub_flush(here.hub, NULL);
    return true;
}

static bool tick_at(int64_t when_ms)
{
    if (when_ms == 0)
        return false;
    here.now_ms = when_ms;
    hub_tick(here.hub);
    here.now_ms = NOW_MS;
    return true;
}

static void device_comes(void)
{
    struct session *ses = &here.session;

    memset(ses, 0, sizeof *ses);
    here.s->session_number = here.s->session_number == 1 ? 2 : 1;
    here.s->device_on = 1;
    here.s->inflight = 0;
    ses->env = &here.env;
    ses->snap = &here.snapshot;
    ses->dev = &here.device;
    ses->version = MQTT_V311;
    ses->has_will = here.args->has_will;
    ses->state = SESSION_OPENING;
    list_init(&ses->link);
    list_init(&ses->of_device);
    list_init(&ses->at_gate);
    inflight_init(&ses->to_broker);
    inflight_init(&ses->to_device);
    here.env.news->up(NULL, ses);
    upstream_begin(ses);
}

static void worker_hears(void)
{
    struct state *s = here.s;

    here.device.active = (enum flip_slot)s->mail[0].active;
    s->current = s->mail[0].current;
    s->evidence = s->mail[0].evidence;
    here.device.flip_seq = s->current ? SEQ : SEQ - 1;
    s->mail_count--;
    memmove(s->mail, s->mail + 1, s->mail_count * sizeof *s->mail);
    memset(&s->mail[s->mail_count], 0, sizeof *s->mail);
    if (s->device_on)
        session_device_changed(&here.session);
}

static void main_hears(void)
{
    struct state *s = here.s;
    struct small_news n = s->news[0];
    struct msg *m = msg_new((enum msg_kind)n.kind);

    s->news_count--;
    memmove(s->news, s->news + 1, s->news_count * sizeof *s->news);
    memset(&s->news[s->news_count], 0, sizeof *s->news);
    assert_non_null(m);
    snprintf(m->device, sizeof m->device, "%s", DEVICE);
    m->session_id = n.session;
    if (n.kind == MSG_LEG) {
        m->u.leg.what = (enum msg_leg_what)n.what;
        m->u.leg.slot = (enum flip_slot)n.slot;
        m->u.leg.flip_seq = n.current ? the_device()->told_seq : 1;
        m->u.leg.diag.class = (enum diag_class)n.class;
        snprintf(m->u.leg.diag.name, sizeof m->u.leg.diag.name, "sim");
    }
    hub_message(here.hub, m);
    (void)hub_flush(here.hub, NULL);
}

static void hub_begin(void)
{
    static const struct hub_sink sink = {.post = sink_post,
                                         .device_changed = sink_changed,
                                         .event = sink_event,
                                         .wake = sink_wake,
                                         .now_ms = sink_now_ms,
                                         .wall_s = sink_wall_s,
                                         .boot = "boot",
                                         .workers = 1};
    struct err err = {0};

    here.hub = hub_new(&sink, NULL, &here.snapshot, &err);
    assert_non_null(here.hub);
    assert_int_equal(hub_start(here.hub, &err), 0);
    (void)hub_flush(here.hub, &err);
}

static void crash(void)
{
    struct state *s = here.s;

    hub_free(here.hub);
    suspect_drop(&here.session);
    free(here.session.accepted_news);
    here.device.differ = (struct differ){0};
    memset(&here.session, 0, sizeof here.session);
    memset(s->legs, 0, sizeof s->legs);
    memset(s->news, 0, sizeof s->news);
    memset(s->mail, 0, sizeof s->mail);
    s->news_count = s->mail_count = 0;
    s->device_on = s->inflight = 0;
    s->active = s->current = s->evidence = 0;
    here.device.active = FLIP_OLD;
    s->crashes++;
    hub_begin();
}

/* Whether a deadline of ours passes while the answer is on its way is a matter of `deadlines`. */
static bool answer_is_coming(const struct state *s)
{
    for (unsigned i = 0; i < LEGS; i++) {
        const struct small_leg *l = &s->legs[i];
        if (!l->used)
            continue;
        if (l->state != LEG_OPEN || l->ticket == 1 || l->connack != 0 || l->end != 0)
            return true;
        if (l->ping && policy_of(s, l->slot) != FALLS_SILENT)
            return true;
        if (l->broker == ASKED && policy_of(s, l->slot) != NEVER_ANSWERS)
            return true;
        if (l->goodbye && l->broker == ACCEPTED)
            return true;
    }
    return s->inflight;
}

/* One is enough: the broker reads it late, or never. */
static bool has_ghost(const struct state *s)
{
    for (unsigned i = 0; i < LEGS; i++)
        if (s->legs[i].ghost)
            return true;
    return false;
}

static bool move_leg(struct state *s, unsigned kind, unsigned i)
{
    struct small_leg *l = &s->legs[i];

    switch (kind) {
    case TLS_UP:
        if (!l->used || l->state == LEG_OPEN)
            return false;
        tls_up(i);
        return true;
    case TICKET:
        if (!l->used || l->ticket != 1)
            return false;
        l->ticket = 2;
        if (here.leg[i].watch)
            here.leg[i].ops->progress(&here.leg[i]);
        return true;
    case PROCESS:
        if (l->broker != ASKED || l->end != 0 || policy_of(s, l->slot) == NEVER_ANSWERS ||
            (has_ghost(s) && !l->ghost)) /* it reads them in their order */
            return false;
        process(i);
        return true;
    case CONNACK:
        if (!l->used || l->connack == 0)
            return false;
        deliver_connack(i);
        return true;
    case END:
        if (!l->used || l->end == 0 || l->connack != 0 || l->state != LEG_OPEN)
            return false;
        deliver_end(i);
        return true;
    case GOODBYE:
        if (!l->used || !l->goodbye || l->broker != ACCEPTED)
            return false;
        l->broker = ENDED;
        l->end = 1;
        return true;
    case PONG:
        if (!l->used || !l->ping || l->broker != ACCEPTED || &here.leg[i] != here.session.up)
            return false;
        if (policy_of(s, l->slot) == FALLS_SILENT)
            return false;
        l->ping = 0;
        here.session.ping_since_ms = 0;
        here.session.barrier_met = here.session.barrier_asked && here.session.phase == RH_DRAINING;
        upstream_answers(&here.session);
        if (here.session.phase == RH_BARRIER)
            upstream_barrier_passed(&here.session);
        return true;
    case ECHOES:
        if (!l->used || l->echoed || &here.leg[i] != here.session.up || l->broker != ACCEPTED ||
            l->slot != FLIP_NEW || here.session.phase != RH_IDLE || here.args->swallows ||
            (s->evidence & FLIP_PROOF_ECHO) == 0)
            return false;
        l->echoed = s->echoed = 1;
        upstream_answers(&here.session); /* who says so much answers */
        push_news((struct small_news){
            .kind = MSG_LEG, .what = MSG_LEG_PROVEN, .slot = FLIP_NEW, .class = DIAG_OK});
        return true;
    case NET_REFUSES:
        if (!here.args->weather || !l->used || l->state != LEG_DIALING)
            return false;
        here.leg[i].ended = true;
        here.leg[i].ops->end(&here.leg[i], &(struct leg_end){.at = LEG_DIALING,
                                                             .dial_stage = DIAL_TCP,
                                                             .status = UV_ECONNREFUSED});
        return true;
    case NET_CUTS:
        /* Once the certificate has been sent, nobody can tell a cut from a refusal. */
        if (s->cuts == here.args->cuts || !l->used || l->end != 0)
            return false;
        s->cuts++;
        if (l->state == LEG_DIALING)
            l->state = (uint8_t)(here.leg[i].state = LEG_TLS);
        l->broker = l->broker == ASKED ? NOTHING : ENDED;
        l->connack = 0;
        l->end = 1;
        deliver_end(i);
        return true;
    default:
        return false;
    }
}

/* An answer that is under way when a trial begins counts for it. */
static bool new_is_accepted(const struct state *s)
{
    for (unsigned i = 0; i < LEGS; i++)
        if (s->legs[i].used && s->legs[i].slot == FLIP_NEW && s->legs[i].broker == ACCEPTED)
            return true;
    return false;
}

static bool echo_is_coming(const struct state *s)
{
    if (!here.args->echo || here.args->swallows)
        return false;
    if (s->news_count > 0)
        return true;
    for (unsigned i = 0; i < LEGS; i++) {
        const struct small_leg *l = &s->legs[i];
        if (l->used && &here.leg[i] == here.session.up && l->slot == FLIP_NEW && !l->echoed &&
            l->broker == ACCEPTED)
            return true;
    }
    return false;
}

static bool move_one(struct state *s, unsigned move)
{
    const struct flip_world_args *a = here.args;
    struct hub_device *d = the_device();
    struct session *ses = &here.session;
    bool late;

    if (move >= TLS_UP)
        return move_leg(s, TLS_UP + (move - TLS_UP) / LEGS * LEGS, (move - TLS_UP) % LEGS);
    switch (move) {
    case FLIP:
        if (d->flip.phase != FLIP_STAGED || !command(EV_FLIP))
            return false;
        s->new_accepted = new_is_accepted(s);
        s->in_vain = s->by_command = s->echoed = 0;
        return true;
    case ROLL_BACK:
        if (!a->rolls_back || !command(EV_ROLLBACK))
            return false;
        s->by_command = 1;
        return true;
    case CONFIRM:
        return a->confirms && command(EV_CONFIRMED);
    case CLEAR:
        return a->clears && command(EV_CLEARED);
    case TICK: /* probation takes longer than an echo that is on its way */
        return !echo_is_coming(s) && tick_at(flip_due(&d->flip));
    case TRY_TIME:
        if (d->try_old_from_ms == 0)
            return false;
        d->try_old_from_ms = 0;
        return true;
    case TURN:
        return d->moving && !answer_is_coming(s) && tick_at(d->moving_until_ms);
    case SAVE_AGAIN:
        return here.hub->retrying && tick_at(NOW_MS);
    case TO_WORKER:
        if (s->mail_count == 0)
            return false;
        worker_hears();
        return true;
    case TO_MAIN:
        if (s->news_count == 0)
            return false;
        main_hears();
        return true;
    case DEVICE_COMES:
        if ((s->device_on && !ses->died) || s->mail_count > 0)
            return false;
        if (s->device_on) {
            ses->taken_over = true;
            s->will_due = s->will_due != 0 ? MAY : 0;
            session_over(ses, false);
        }
        device_comes();
        return true;
    case LEAVE_DUE:
        if (ses->leave_ms == 0)
            return false;
        session_end(ses, 0, !ses->died, "");
        return true;
    case DEVICE_LEAVES:
    case DEVICE_DIES:
        if (!a->device_leaves || !s->device_on || ses->died || has_ghost(s))
            return false;
        if (a->has_will && move == DEVICE_DIES)
            s->will_due = ses->state == SESSION_RELAYING ? MUST : MAY;
        if (move == DEVICE_DIES && upstream_outlives_device(ses)) {
            ses->gone = ses->died = true;
            ses->leave_ms = (uint64_t)NOW_MS + 1100;
            return true;
        }
        session_over(ses, move == DEVICE_LEAVES ||
                              (here.mutant != NULL && here.mutant->takes_death_for_goodbye));
        return true;
    case EXCHANGE_BEGINS:
        if (!a->exchanges || s->inflight || !s->device_on || ses->state != SESSION_RELAYING ||
            ses->holding || ses->up == NULL)
            return false;
        s->inflight = 1;
        return true;
    case EXCHANGE_ENDS:
        if (!s->inflight || ses->up == NULL || small_of(ses->up)->broker != ACCEPTED)
            return false;
        s->inflight = 0;
        upstream_drained(ses);
        return true;
    case DUE:
        late = !ses->proven && answer_is_coming(s);
        if (ses->due_ms == 0 || has_ghost(s) || (late && s->lates == a->lates))
            return false;
        s->lates += late;
        upstream_due(ses, ses->due_ms);
        return true;
    case SILENT:
        late = answer_is_coming(s);
        if (!s->device_on || upstream_silent_due(ses) == 0 || (late && s->lates == a->lates))
            return false;
        s->lates += late;
        upstream_silent(ses);
        return true;
    case RETRY:
        if (ses->retry_ms == 0)
            return false;
        upstream_due(ses, ses->retry_ms);
        return true;
    case CRASH:
        if (!a->crashes || s->crashes == 2)
            return false;
        crash();
        return true;
    case DISK_FULL:
        if (!a->disk_fails || s->disk_full)
            return false;
        s->disk_full = 1;
        return true;
    case DISK_FREE:
        if (!s->disk_full)
            return false;
        s->disk_full = 0;
        return true;
    case BROKER_CHANGES:
        if (a->new_policy_later == a->new_policy || s->later)
            return false;
        s->later = 1;
        return true;
    default:
        return false;
    }
}

/* What can be seen without making a state of it. */
static bool is_out_of_question(const struct state *s, unsigned move)
{
    const struct flip_world_args *a = here.args;

    if (move >= TLS_UP) {
        const struct small_leg *l = &s->legs[(move - TLS_UP) % LEGS];
        return !l->used && !l->ghost;
    }
    switch (move) {
    case FLIP:
        return s->row.phase != FLIP_STAGED;
    case ROLL_BACK:
        return !a->rolls_back;
    case CONFIRM:
        return !a->confirms;
    case CLEAR:
        return !a->clears;
    case SAVE_AGAIN:
        return !s->retrying;
    case TO_WORKER:
        return s->mail_count == 0;
    case TO_MAIN:
        return s->news_count == 0;
    case DEVICE_LEAVES:
    case DEVICE_DIES:
        return !a->device_leaves;
    case EXCHANGE_BEGINS:
        return !a->exchanges;
    case EXCHANGE_ENDS:
        return !s->inflight;
    case DUE:
        return s->session.due_ms == 0;
    case RETRY:
        return s->session.retry_ms == 0;
    case LEAVE_DUE:
        return s->session.leave_ms == 0;
    case SILENT:
        return s->session.ping_since_ms == 0;
    case CRASH:
        return !a->crashes;
    case DISK_FULL:
        return !a->disk_fails;
    case DISK_FREE:
        return !s->disk_full;
    default:
        return false;
    }
}

static bool is_the_workers(unsigned move)
{
    return move == TO_WORKER || (move >= DEVICE_COMES && move <= RETRY) || move >= TLS_UP;
}

static bool move(void *arg, void *state, unsigned move)
{
    struct state *s = state;

    (void)arg;
    if (is_out_of_question(s, move) || (move <= CLEAR && s->mail_count > 1))
        return false; /* of the decisions under way, two are enough */
    if (is_the_workers(move) && s->news_count + 3u > NEWS_MOST)
        return false; /* main first */
    load(s);
    bool done = move_one(s, move);
    save(s);
    return done;
}

/* ---- invariants ---- */

static const char *judge(void *arg, const void *before_, const void *after_, unsigned move)
{
    const struct state *before = before_, *after = after_;
    const struct flip_world_args *a = here.args;
    bool takes_new = a->new_policy == ACCEPTS && a->new_policy_later == ACCEPTS;

    (void)arg;
    (void)move;
    if (after->unsaved_use)
        return "an identity is used that nothing durable allows";
    if (after->cut_off)
        return "a device is cut off";
    if (after->will_fired && a->cuts == 0 && !a->crashes && a->lates == 0)
        return "a Will fires though the device lives";
    if (after->row.phase == FLIP_COMMITTED && before->row.phase != FLIP_COMMITTED &&
        (!after->new_accepted || (a->echo && !after->echoed)))
        return "a flip succeeds without evidence";
    if (after->row.phase == FLIP_ROLLED_BACK && before->row.phase != FLIP_ROLLED_BACK &&
        takes_new && a->old_policy == ACCEPTS && !after->by_command && !after->in_vain &&
        !a->swallows)
        return "a good identity is rolled back";
    return NULL;
}

/* In the order in which they are taken. */
static const unsigned fair_moves[] = {DISK_FREE, SAVE_AGAIN, TO_WORKER, TO_MAIN, EXCHANGE_ENDS};
static const unsigned fair_legs[] = {CONNACK, END, TLS_UP, TICKET, PROCESS, GOODBYE, PONG, ECHOES};
static const unsigned fair_times[] = {DUE,   SILENT, LEAVE_DUE, TRY_TIME,
                                      RETRY, TURN,   TICK,      DEVICE_COMES};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static size_t fair_order(unsigned out[MOVES])
{
    size_t n = 0;

    for (size_t k = 0; k < COUNT(fair_moves); k++)
        out[n++] = fair_moves[k];
    for (size_t k = 0; k < COUNT(fair_legs); k++)
        for (unsigned i = 0; i < LEGS; i++)
            out[n++] = fair_legs[k] + i;
    for (size_t k = 0; k < COUNT(fair_times); k++)
        out[n++] = fair_times[k];
    return n;
}

static const char *bad_rest(void *arg, const void *state)
{
    const struct state *s = state;
    const struct session *ses = &s->session;
    const struct flip_world_args *a = here.args;

    (void)arg;
    if (s->hub.flip.phase != s->row.phase)
        return "what is known is not what is durable";
    if (s->row.phase == FLIP_TRIAL)
        return "a trial never ends";
    if (ses->state != SESSION_RELAYING || ses->up == NULL || ses->holding)
        return "a device is held for ever";
    if (ses->phase != RH_IDLE)
        return "a re-home never ends";
    if (s->legs[ses->up - here.leg].broker != ACCEPTED)
        return "a device is connected to nobody";
    if (ses->have != flip_active_slot(&s->row) && a->old_policy == ACCEPTS)
        return "the identity in use is not the active one";
    if (s->will_due == MUST && a->cuts == 0)
        return "a device died, and its Will was not published";
    for (unsigned i = 0; i < LEGS; i++)
        if (s->legs[i].used && &here.leg[i] != ses->up)
            return "a leg is left over";
    if (s->row.phase == FLIP_COMMITTED && (a->new_policy != ACCEPTS || a->swallows))
        return "a refused identity is kept";
    return NULL;
}

static void describe(void *arg, const void *state, char *out, size_t n)
{
    static const char *const at[] = {"", "asked", "accepted", "ended"};
    const struct state *s = state;
    size_t k = (size_t)snprintf(out, n, "%s%s%s", flip_phase_name(s->row.phase),
                                s->hub.flip.accepted ? "+" : "", s->disk_full ? " disk-full" : "");

    (void)arg;
    if (s->device_on && k < n)
        k +=
            (size_t)snprintf(out + k, n - k, " %s%s%s wants %s",
                             s->session.state == SESSION_OPENING ? "opening " : "",
                             rehome_phase_name(s->session.phase), s->session.holding ? " held" : "",
                             flip_slot_name((enum flip_slot)s->active));
    for (unsigned i = 0; i < LEGS && k < n; i++) {
        const struct small_leg *l = &s->legs[i];
        if (l->used || l->ghost)
            k += (size_t)snprintf(out + k, n - k, " [%u %s%s%s %s%s%s]", i,
                                  l->ghost                           ? "ghost "
                                  : &here.leg[i] == s->session.up    ? "up "
                                  : &here.leg[i] == s->session.cand  ? "cand "
                                  : &here.leg[i] == s->session.spare ? "spare "
                                                                     : "",
                                  flip_slot_name((enum flip_slot)l->slot),
                                  l->state == LEG_OPEN ? "" : " dialing", at[l->broker],
                                  l->goodbye ? " goodbye" : "", l->end != 0 ? " end" : "");
    }
    for (unsigned i = 0; i < s->mail_count && k < n; i++)
        k += (size_t)snprintf(out + k, n - k, " >%s",
                              flip_slot_name((enum flip_slot)s->mail[i].active));
    for (unsigned i = 0; i < s->news_count && k < n; i++) {
        const struct small_news *w = &s->news[i];
        if (w->kind != MSG_LEG)
            k += (size_t)snprintf(out + k, n - k, " <%s", w->kind == MSG_UP ? "up" : "down");
        else
            k += (size_t)snprintf(
                out + k, n - k, " <%s-%s%s",
                w->what == MSG_LEG_ACCEPTED ? "accepted"
                : w->what == MSG_LEG_LOST   ? "lost"
                : w->what == MSG_LEG_PROVEN ? "proven"
                                            : diag_class_name((enum diag_class)w->class),
                flip_slot_name((enum flip_slot)w->slot), w->current ? "" : "(late)");
    }
}

/* ---- the walk ---- */

struct explored flip_world_walk(const struct flip_world_args *args,
                                const struct flip_world_mutant *mutant, size_t most)
{
    static char gateway[] = "gw", identities[] = "/", device[] = DEVICE, address[] = "broker";
    static struct tls_ctx *ctx[1];
    struct state *s = calloc(1, sizeof *s);
    unsigned order[MOVES];
    struct explored out;

    assert_non_null(s);
    memset(&here, 0, sizeof here);
    here.args = args;
    here.mutant = NULL; /* not before it runs */
    log_set_level("*", LOG_ERROR_);
    memset(creds, 0, sizeof creds);
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        memset(creds[slot].info.fp, slot + 1, CERT_FP_BYTES);
        creds[slot].info.not_before_s = WALL_S - 100000;
        creds[slot].info.not_after_s = WALL_S + 100000;
    }
    here.upstream = (struct conf_upstream){.address = address,
                                           .connect_timeout_ms = 15000,
                                           .connack_timeout_ms = 10000,
                                           .drain_timeout_ms = 5000,
                                           .barrier_timeout_ms = 5000,
                                           .accept_wait_ms = 1000,
                                           .keep_session = true};
    here.conf.gateway = gateway;
    here.conf.identities_dir = identities;
    here.conf.upstreams = &here.upstream;
    here.conf.upstream_count = 1;
    here.conf.flip.attempts = 3;
    here.conf.flip.concurrent = 1;
    here.conf.flip.probation_s = 60;
    here.conf.flip.backoff_tls_s[0] = 30;
    here.conf.flip.backoff_tls_count = 1;
    here.snapshot.conf = &here.conf;
    here.snapshot.upstream_ctx = ctx;
    assert_int_equal(uv_loop_init(&here.loop), 0);
    here.loop.time = (uint64_t)NOW_MS;
    here.env.nl.loop = &here.loop;
    here.env.snap = &here.snapshot;
    here.env.news = &news_calls;
    here.device = (struct device){.name = device, .cred = {&creds[0], &creds[1]}};
    flip_init(&s->row);
    s->row.phase = FLIP_STAGED;
    here.s = s;
    here.now_ms = NOW_MS;
    hub_begin();
    here.device.active = FLIP_OLD;
    save(s);
    here.mutant = mutant;
    if (mutant != NULL && mutant->drops)
        here.upstream.uplink_lost = CONF_UPLINK_DROP;
    const struct explore x = {.bytes = sizeof *s,
                              .moves = MOVES,
                              .most = most,
                              .move = move,
                              .judge = judge,
                              .fair = order,
                              .fair_count = fair_order(order),
                              .bad_rest = bad_rest,
                              .may_go_round = args->old_policy != ACCEPTS,
                              .describe = describe,
                              .name = name_move};
    out = explore_run(&x, s);
    load(s);
    hub_free(here.hub);
    uv_loop_close(&here.loop);
    free(s);
    return out;
}
