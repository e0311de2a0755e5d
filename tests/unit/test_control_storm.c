/* A hub in whatever weather: random news, commands, restarts and times at which nothing can be
 * saved, and beside it what is true of the device's connections.  Whatever the order,
 *
 *   what is committed has stood through its probation, and shown what was demanded (or somebody
 * said so), and showed it with the identity that is in the slot; what is rolled back was refused,
 * or somebody said so: outages alone do not; when the store works again and nothing happens,
 * journal, hub, workers and files agree.  There is always one usable identity to be used.  Files
 * and row change together, wherever the power goes in between.  A retirement moves no session; what
 * was retired or discarded is never shown again.
 *
 * The scripts are random, from fixed seeds.  CERTFLIP_TEST_SEED runs one of them.
 */
#include "test_control_world.h"

#include "identity/files.h"

#define SCRIPTS 600
#define STEPS   80
#define NEVER   INT64_MAX

struct storm {
    struct world *w;
    uint64_t random;
    uint64_t session; /* 0: no sensor */
    int leg;          /* the slot that its connection stands on; -1: none */
    int64_t stood_ms; /* the identity on trial was accepted then, and stands since; NEVER */
    uint8_t stood_fp; /* which identity that was */
    bool echoed;      /* on that connection */
    uint8_t vouched;  /* for this fingerprint; 0: for none */
    bool suspected;   /* something was said against the new identity since it is on trial */
    bool blamed;      /* and it was an answer, or the old one is accepted where it failed */
    bool commanded;   /* it was ended by command */
    unsigned starts;  /* since the flip */
    uint8_t made;     /* the fingerprint that was made last */
    bool lost;        /* and so the start may have found a trial without its files */
    bool behind;      /* files could not be put back, and were not read since */
    bool dead[256];   /* by fingerprint: was retired or discarded */
    struct hub_terms terms;
    char told[STEPS * 24];
};

static uint64_t now_running; /* its seed */

static unsigned pick(struct storm *s, unsigned below)
{
    s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(s->random >> 33) % below;
}

static const struct hub_device *press(const struct storm *s)
{
    return hub_find(s->w->hub, "press");
}

static void note(struct storm *s, const char *what)
{
    size_t n = strlen(s->told);

    snprintf(s->told + n, sizeof(s->told) - n, " %s", what);
}

static struct world_device *files(const struct storm *s)
{
    return &s->w->device[0];
}

/* Of an identity that there has never been. */
static uint8_t fresh(struct storm *s)
{
    assert_true(s->made < WORLD_FP_EXPIRED - 1);
    return ++s->made;
}

static uint8_t fp_of(const struct storm *s, enum flip_slot slot)
{
    const struct cred *c = press(s)->cred[slot];

    return c == NULL ? 0 : cred_leaf(c)->fp[0];
}

#define broken(s, text) fail_msg("seed %llu:%s: " text, (unsigned long long)now_running, (s)->told)

static void fallen(struct storm *s)
{
    s->stood_ms = NEVER;
    s->echoed = false;
}

/* -- what happens ------------------------------------------------------------------------------ */

static void sensor(struct storm *s)
{
    if (s->session == 0) {
        note(s, "up");
        s->session = world_up(s->w, pick(s, 2), "press");
        return;
    }
    note(s, "down");
    world_down(s->w, "press", s->session);
    s->session = 0;
    s->leg = -1;
    fallen(s);
}

static void accepted(struct storm *s)
{
    enum flip_slot slot = press(s)->told_slot;

    if (s->session == 0)
        return;
    note(s, slot == FLIP_NEW ? "accepted-new" : "accepted-old");
    if (slot == FLIP_OLD)
        s->blamed |= s->suspected; /* the old one is asked for that alone */
    if (slot != FLIP_NEW)
        fallen(s);
    else if (s->leg != FLIP_NEW || s->stood_ms == NEVER) {
        fallen(s);
        s->stood_ms = s->w->now_ms;
        s->stood_fp = files(s)->told_fp[FLIP_NEW];
    }
    s->leg = (int)slot;
    world_leg(s->w, "press", s->session, slot, DIAG_OK);
}

static void failed(struct storm *s)
{
    static const enum diag_class classes[] = {DIAG_NETWORK, DIAG_BROKER, DIAG_TRUST, DIAG_SUSPECT,
                                              DIAG_IDENTITY};
    enum flip_slot slot = press(s)->told_slot;
    enum diag_class class = classes[pick(s, 5)];
    bool lost = s->leg == (int)slot;
    char text[40];

    if (s->session == 0)
        return;
    snprintf(text, sizeof(text), "%s-%s-%s", lost ? "lost" : "failed", flip_slot_name(slot),
             diag_class_name(class));
    note(s, text);
    if (slot == FLIP_NEW && class == DIAG_IDENTITY)
        s->blamed = s->suspected = true;
    if (slot == FLIP_NEW && class == DIAG_SUSPECT)
        s->suspected = true;
    if (lost) {
        s->leg = -1;
        fallen(s);
        world_lost(s->w, "press", s->session, slot, class);
    } else {
        world_leg(s->w, "press", s->session, slot, class);
    }
}

static void stale(struct storm *s)
{
    if (s->session == 0)
        return;
    note(s, "stale");
    world_leg_seq(s->w, "press", s->session, pick(s, 2) == 0 ? FLIP_NEW : press(s)->told_slot,
                  DIAG_IDENTITY, press(s)->told_seq - 1);
}

static void proof(struct storm *s)
{
    if (s->leg != FLIP_NEW || press(s)->told_slot != FLIP_NEW || s->stood_ms == NEVER)
        return;
    if (pick(s, 6) == 0) {
        note(s, "refused");
        s->blamed = s->suspected = true;
        world_refused(s->w, "press", s->session, FLIP_NEW, 1 + pick(s, 3));
        return;
    }
    note(s, "echoed");
    s->echoed = true;
    world_echoed(s->w, "press", s->session);
}

/* A command in vain does not change who serves the sensor. */
static bool commands(struct storm *s, enum flip_event ev, const struct hub_terms *terms, uint8_t fp)
{
    enum flip_slot told = press(s)->told_slot;
    const char *what = world_command_with(s->w, "press", ev, terms, fp);

    if (strcmp(what, "store") == 0 && press(s)->told_slot != told)
        fail_msg("seed %llu:%s: a command in vain moves the sensor",
                 (unsigned long long)now_running, s->told);
    return strcmp(what, "ok") == 0;
}

static void flip(struct storm *s)
{
    struct hub_terms terms = {.probation_ms = 1000 * (1 + (int64_t)pick(s, 30)),
                              .confirm = pick(s, 2) == 0 ? FLIP_CONFIRM_AUTO : FLIP_CONFIRM_CENTRAL,
                              .confirm_ms = 60000,
                              .evidence = pick(s, 2) == 0 ? FLIP_PROOF_ECHO : FLIP_PROOF_CONNACK};

    note(s, "flip");
    if (!commands(s, EV_FLIP, &terms, 0))
        return;
    s->terms = terms;
    s->blamed = s->suspected = s->commanded = false;
    s->vouched = 0;
    s->starts = 0;
    s->stood_ms = NEVER;
}

static void confirm(struct storm *s)
{
    uint8_t fp = files(s)->fp[FLIP_NEW];

    if (fp == 0)
        return;
    note(s, "confirm");
    if (commands(s, EV_CONFIRMED, NULL, fp))
        s->vouched = fp;
}

static void command(struct storm *s)
{
    static const enum flip_event events[] = {EV_ROLLBACK, EV_COMMIT, EV_CLEARED};
    enum flip_event ev = events[pick(s, 3)];

    note(s, flip_event_name(ev));
    s->commanded |= commands(s, ev, NULL, 0);
}

/* The daemon starts, and the power may go again while it does. */
static void start(struct storm *s)
{
    s->w->fail_saves = s->w->fail_files = s->w->fail_backs = 0;
    s->blamed |= s->behind; /* what it had on trial may be gone */
    s->lost |= s->behind;
    s->behind = false;
    s->session = 0;
    s->leg = -1;
    fallen(s);
    s->starts++;
    if (pick(s, 4) == 0) {
        s->w->power_steps = 1 + (int)pick(s, 2);
        world_start(s->w);
        world_stop(s->w);
    }
    world_start(s->w);
}

static void restart(struct storm *s)
{
    note(s, "restart");
    world_stop(s->w);
    if (files(s)->fp[FLIP_NEW] != 0 && pick(s, 3) == 0)
        files(s)->fp[FLIP_NEW] = fresh(s);
    start(s);
}

static void replace(struct storm *s)
{
    struct hub_reload out = {0};
    struct err err = {0};
    uint8_t former = files(s)->fp[FLIP_NEW];

    note(s, "replace");
    files(s)->fp[FLIP_NEW] = fresh(s);
    if (hub_reload(s->w->hub, &s->w->snapshot, &out, &err) != 0 && !out.begun) {
        files(s)->fp[FLIP_NEW] = former;
        return;
    }
    files(s)->waits = false;
    fallen(s); /* what stands shows another one */
    if (press(s)->saved.phase == FLIP_TRIAL)
        s->blamed = s->suspected = false;
}

/* -- commands that change files -- */

/* Returns whether it was carried out, and is durable. */
static bool flushed(struct storm *s, int rc, struct rpc_fault *f)
{
    int backs = s->w->fail_backs;

    rpc_fault_fini(f);
    rc = hub_flush(s->w->hub, NULL) == 0 && rc == 0;
    s->behind |= s->w->fail_backs != backs;
    return rc;
}

static bool put(struct storm *s, bool identity)
{
    struct rpc_fault f = {0};
    const char chain[] = {(char)(identity ? fresh(s) : 0), '\0'};
    const struct files_slot what = {
        .key = slice_of("k"), .csr = slice_of("r"), .chain = slice_of(chain)};
    int rc = hub_put_new(s->w->hub, hub_find(s->w->hub, "press"), &what, identity, "tester", &f);

    return flushed(s, rc, &f);
}

static bool discard(struct storm *s)
{
    struct rpc_fault f = {0};
    bool changed;
    int rc = hub_discard(s->w->hub, hub_find(s->w->hub, "press"), "tester", &changed, &f);

    return flushed(s, rc, &f);
}

static bool retire(struct storm *s)
{
    struct rpc_fault f = {0};
    bool changed;
    int rc = hub_retire(s->w->hub, hub_find(s->w->hub, "press"), "tester", &changed, &f);

    return flushed(s, rc, &f);
}

static void install(struct storm *s)
{
    note(s, "install");
    put(s, true);
}

static void keygen(struct storm *s)
{
    note(s, "keygen");
    put(s, false);
}

static void throw_away(struct storm *s)
{
    uint8_t was = fp_of(s, FLIP_NEW);

    note(s, "discard");
    if (discard(s))
        s->dead[was] = was != 0;
}

/* What the sensor's connection shows stays what it was, and the workers know under which name. */
static void retire_old(struct storm *s)
{
    const struct world_device *f = files(s);
    uint8_t old = fp_of(s, FLIP_OLD), new = fp_of(s, FLIP_NEW), told = f->told_fp[f->told_active];
    enum flip_slot active = f->told_active;
    unsigned kicks = s->w->kicks, said = f->told_retired;
    bool done;

    note(s, "retire");
    done = retire(s);
    if (s->w->kicks != kicks)
        broken(s, "a retirement ends a session");
    if (f->told_fp[f->told_active] != told)
        broken(s, "a retirement moves a session");
    if (f->told_active != active && f->told_retired == said)
        broken(s, "a retirement moves a session to another slot");
    if (!done) {
        if (f->told_retired != said || fp_of(s, FLIP_OLD) != old || fp_of(s, FLIP_NEW) != new)
            broken(s, "half a retirement");
        return;
    }
    if (f->fp[FLIP_OLD] != new || f->fp[FLIP_NEW] != 0 || f->archived != old ||
        fp_of(s, FLIP_OLD) != new || press(s)->saved.phase != FLIP_STEADY)
        broken(s, "half a retirement");
    s->dead[old] = true;
    if (s->leg == FLIP_OLD)
        broken(s, "a retirement takes the identity that a session stands on");
    if (s->leg == FLIP_NEW)
        s->leg = FLIP_OLD;
    list_for_each (it, &press(s)->sessions)
        if (list_entry(it, struct hub_session, link)->leg != s->leg)
            broken(s, "a retirement loses sight of a session");
    fallen(s); /* it is not on trial any more */
}

/* The power goes in the middle of one of them: before the first step on disk, between files and
 * row, or after the row. */
static void power_cut(struct storm *s)
{
    uint8_t old = fp_of(s, FLIP_OLD), new = fp_of(s, FLIP_NEW);
    unsigned what = pick(s, 4);
    const struct world_device *f = files(s);

    s->w->power_steps = 1 + (int)pick(s, 4);
    if (what == 0) {
        note(s, "power-in-install");
        put(s, true);
    } else if (what == 1) {
        note(s, "power-in-keygen");
        put(s, false);
    } else if (what == 2) {
        note(s, "power-in-discard");
        discard(s);
    } else {
        note(s, "power-in-retire");
        retire(s);
    }
    world_stop(s->w);
    start(s);
    if (what == 3 && f->fp[FLIP_OLD] == new &&new != 0 && f->fp[FLIP_NEW] == 0)
        s->dead[old] = true;
    else if (f->fp[FLIP_OLD] != old)
        broken(s, "half a retirement after the power cut");
    if (what == 2 && f->fp[FLIP_NEW] == 0)
        s->dead[new] = new != 0;
}

/* Neither can the next change be saved, nor its files be put back. */
static void bad_backs(struct storm *s)
{
    note(s, "bad-backs");
    s->w->fail_saves = s->w->fail_backs = 1;
}

static void bad_files(struct storm *s)
{
    note(s, "bad-files");
    s->w->fail_files = 1;
}

static void wait_for(struct storm *s)
{
    note(s, "wait");
    world_pass(s->w, 1000 * (1 + (int64_t)pick(s, 40)));
}

static void disk(struct storm *s)
{
    note(s, "full");
    s->w->fail_saves = 1 + (int)pick(s, 4);
}

/* -- what must hold ---------------------------------------------------------------------------- */

static void check_commit(const struct storm *s)
{
    bool word = s->vouched == files(s)->fp[FLIP_NEW];

    if (s->commanded)
        return;
    if (s->stood_ms != NEVER && s->stood_fp != files(s)->fp[FLIP_NEW])
        broken(s, "committed with proof of another identity");
    if (s->stood_ms == NEVER)
        fail_msg("seed %llu:%s: committed without a connection", (unsigned long long)now_running,
                 s->told);
    if ((s->terms.evidence & FLIP_PROOF_ECHO) != 0 && !s->echoed)
        fail_msg("seed %llu:%s: committed without the echo that was demanded",
                 (unsigned long long)now_running, s->told);
    if (s->terms.confirm == FLIP_CONFIRM_CENTRAL && !word)
        fail_msg("seed %llu:%s: committed without the word that was demanded",
                 (unsigned long long)now_running, s->told);
    if (!word && s->w->now_ms - s->stood_ms < s->terms.probation_ms)
        fail_msg("seed %llu:%s: committed before probation was over",
                 (unsigned long long)now_running, s->told);
}

static void check_rollback(const struct storm *s)
{
    if (s->blamed || s->commanded || s->starts >= 3)
        return;
    if ((s->terms.evidence & FLIP_PROOF_ECHO) != 0 || s->terms.confirm == FLIP_CONFIRM_CENTRAL)
        return; /* not proven, or not confirmed */
    fail_msg("seed %llu:%s: rolled back by bad weather", (unsigned long long)now_running, s->told);
}

/* What is shown of a trial is what it is judged by. */
static void check_proof(const struct storm *s)
{
    const struct hub_device *d = press(s);
    unsigned shown = d->proof == NULL ? 0 : d->proof->what;

    if (d->flip.phase == FLIP_TRIAL &&
        shown != (d->flip.proven | (d->flip.accepted ? FLIP_PROOF_CONNACK : 0U)))
        fail_msg("seed %llu:%s: it shows other proof than it has", (unsigned long long)now_running,
                 s->told);
}

/* What a phase says of the files: as the hub knows them, and as they are. */
static bool phase_fits(const struct storm *s, enum flip_phase phase, bool new)
{
    if (phase == FLIP_ROLLED_BACK && s->lost)
        return true; /* it says what has become of the trial */
    return phase == FLIP_STEADY ? !new : new;
}

static void check_files(const struct storm *s)
{
    const struct hub_device *d = press(s);
    const struct world_device *f = files(s);

    if (d->cred[flip_active_slot(&d->flip)] == NULL)
        broken(s, "there is no identity to use");
    if (f->told_fp[f->told_active] == 0)
        broken(s, "the workers have no identity to use");
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        if (fp_of(s, (enum flip_slot)slot) != f->fp[slot] && !s->behind)
            broken(s, "the hub does not know what is on disk");
        if ((s->dead[f->fp[slot]] && !s->behind) || s->dead[f->told_fp[slot]])
            broken(s, "an identity is back that was retired or discarded");
    }
    if (!phase_fits(s, d->flip.phase, fp_of(s, FLIP_NEW) != 0) && d->saved.phase == d->flip.phase &&
        !d->unsaved && d->retry == EV_NONE && s->w->fail_saves == 0)
        broken(s, "the phase does not fit the files");
}

static void check(struct storm *s, enum flip_phase before)
{
    struct store_device row;

    if (store_device_get(s->w->store, "press", &row, NULL) != 0)
        fail_msg("seed %llu:%s: the row is gone", (unsigned long long)now_running, s->told);
    if (row.flip.phase != press(s)->saved.phase)
        fail_msg("seed %llu:%s: the hub does not know what is journalled",
                 (unsigned long long)now_running, s->told);
    check_proof(s);
    check_files(s);
    if (row.flip.phase == before)
        return;
    if (row.flip.phase == FLIP_COMMITTED)
        check_commit(s);
    if (row.flip.phase == FLIP_ROLLED_BACK && before == FLIP_TRIAL)
        check_rollback(s);
}

/* The store works again, and the sensor sees to its part. */
static void check_peace(struct storm *s)
{
    const struct hub_device *d = press(s);

    s->w->fail_saves = 0;
    if (s->session != 0)
        sensor(s);
    if (s->behind) {
        world_stop(s->w);
        start(s);
        d = press(s);
    }
    world_pass(s->w, 60000);
    assert_int_equal(d->flip.phase, d->saved.phase);
    assert_int_equal(d->flip.accepted, d->saved.accepted);
    assert_int_equal(d->retry, EV_NONE);
    assert_false(d->queued);
    assert_false(d->fell);
    assert_null(d->change);
    assert_true(phase_fits(s, d->flip.phase, files(s)->fp[FLIP_NEW] != 0));
    for (int slot = 0; slot < FLIP_SLOTS; slot++)
        assert_int_equal(files(s)->told_fp[slot], files(s)->fp[slot]);
    assert_int_equal(d->told_slot, d->trying_old ? FLIP_OLD : flip_active_slot(&d->flip));
    if (d->flip.phase == FLIP_ROLLED_BACK)
        assert_false(d->going_back);
}

static void run(struct world *w, uint64_t seed)
{
    static void (*const does[])(struct storm *) = {
        sensor,     accepted,   accepted, accepted,  failed,    stale,     proof,
        proof,      flip,       flip,     confirm,   command,   restart,   replace,
        wait_for,   disk,       disk,     wait_for,  install,   install,   throw_away,
        retire_old, retire_old, keygen,   power_cut, bad_files, bad_backs,
    };
    struct storm s = {.w = w,
                      .random = seed * UINT64_C(0x9E3779B97F4A7C15),
                      .leg = -1,
                      .stood_ms = NEVER,
                      .made = 2};

    world_device(w, "press", 1, 2);
    w->conf.flip.jitter_ms = 0;
    world_start(w);
    for (int i = 0; i < STEPS; i++) {
        enum flip_phase before = press(&s)->saved.phase;

        does[pick(&s, sizeof(does) / sizeof(does[0]))](&s);
        check(&s, before);
    }
    check_peace(&s);
}

static void no_weather_makes_a_false_verdict(void **state)
{
    const char *one = getenv("CERTFLIP_TEST_SEED");

    (void)state;
    for (uint64_t seed = 1; seed <= SCRIPTS; seed++) {
        void *w = NULL;

        if (one != NULL)
            seed = strtoull(one, NULL, 10);
        now_running = seed;
        world_make(&w);
        if (one == NULL)
            log_set_level("store", (enum log_level)(LOG_ERROR_ - 1)); /* full over and over */
        run(w, seed);
        world_remove(&w);
        if (one != NULL)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_weather_makes_a_false_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
