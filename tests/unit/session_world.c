#include "session_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "scratch.h"

static char dir[64];
static struct world *the_world;

/* ---- certificates ---- */

/* Two CAs; the device's old identity is of the first, its new one of the second. */
static const char make_certificates[] =
    "set -e; cd %s; exec >openssl.log 2>&1\n"
    "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=$1"
    " -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign"
    " -keyout $1.key -out $1.pem; }\n"
    "leaf() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$2 -keyout"
    " $2.key -out $2.csr; printf \"$3\" >$2.ext; openssl x509 -req -in $2.csr -CA $1.pem -CAkey"
    " $1.key -CAcreateserial -days 30 -extfile $2.ext -out $2.pem; chmod 600 $2.key; }\n"
    "ca ca-old; ca ca-new\n"
    "leaf ca-old broker 'extendedKeyUsage=serverAuth\\nsubjectAltName=IP:127.0.0.1\\n'\n"
    "leaf ca-old old 'extendedKeyUsage=clientAuth\\n'\n"
    "leaf ca-new new 'extendedKeyUsage=clientAuth\\n'\n"
    "cat ca-old.pem ca-new.pem >ca-both.pem\n";

int world_setup(void **state)
{
    char script[2048];
    struct err err = {0};

    (void)state;
    if (!scratch_make(dir, sizeof(dir)))
        return -1;
    snprintf(script, sizeof script, make_certificates, dir);
    if (system(script) != 0) /* NOLINT(cert-env33-c) */
        return -1;
    log_set_level("*", getenv("CERTFLIP_TEST_LOG") != NULL ? LOG_DEBUG_ : LOG_ERROR_);
    return tls_init(&err);
}

int world_teardown(void **state)
{
    char script[128];

    (void)state;
    tls_fini();
    snprintf(script, sizeof script, "rm -rf %s", dir);
    return system(script); /* NOLINT(cert-env33-c) */
}

static const char *path(const char *file)
{
    static char paths[4][128];
    static unsigned next;
    char *p = paths[next++ % 4];

    snprintf(p, sizeof paths[0], "%s/%s", dir, file);
    return p;
}

static struct cred *load_cred(const char *name)
{
    char pem[32], key[32];
    struct err err = {0};

    snprintf(pem, sizeof pem, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    struct cred *cred = cred_load(path(pem), path(key), &err);
    if (cred == NULL)
        fail_msg("%s", err.msg);
    return cred;
}

static struct tls_ctx *server_ctx(const char *anchors)
{
    const char *paths[] = {path(anchors)};
    struct trust_list list = {0};
    struct cred *cred = load_cred("broker");
    struct err err = {0};

    if (trust_list_files(&list, paths, 1, &err) != 0)
        fail_msg("%s", err.msg);
    struct tls_ctx *ctx = tls_ctx_new_server(
        &(struct tls_server_args){.min = TLS_V12,
                                  .max = TLS_V13,
                                  .client_cert = TLS_CLIENT_CERT_REQUIRE,
                                  .chains = &(struct tls_server_chain){.cred = cred},
                                  .chain_count = 1,
                                  .trust = {.anchors = list.at, .anchor_count = list.count}},
        &err);

    if (ctx == NULL)
        fail_msg("%s", err.msg);
    cred_unref(cred);
    trust_list_fini(&list);
    return ctx;
}

/* ---- ends ---- */

static void flush(struct end *e)
{
    if (e->glued || e->closed || e->closing)
        return;
    if (e->out.len > 0) {
        stream_prepare(&e->st);
        if (e->tls != NULL)
            assert_int_equal(tls_conn_write(e->tls, e->out.p, e->out.len), TLS_OK);
        else
            assert_int_equal(buf_append(&e->st.out, e->out.p, e->out.len), 0);
        e->out.len = 0;
    }
    stream_flush(&e->st);
}

static void take_tls(struct end *e, const uint8_t *p, size_t n)
{
    enum tls_status st = TLS_OK;

    stream_prepare(&e->st);
    tls_conn_input(e->tls, p, n, n == 0);
    if (!tls_conn_established(e->tls)) {
        st = tls_conn_handshake(e->tls);
        if (st == TLS_OK) {
            struct cert_info *peer = tls_conn_take_peer(e->tls);
            assert_non_null(peer);
            snprintf(e->cn, sizeof e->cn, "%s", peer->cn);
            cert_info_free(peer);
        }
    }
    while (st == TLS_OK) {
        size_t got = 0;
        assert_int_equal(buf_reserve(&e->in, 65536), 0);
        st = tls_conn_read(e->tls, e->in.p + e->in.len, e->in.cap - e->in.len, &got);
        if (st == TLS_OK)
            e->in.len += got;
    }
    if (st == TLS_CLOSED || st == TLS_FAILED)
        e->ended = true;
    if (st == TLS_FAILED)
        e->tls_failed = true;
    stream_flush(&e->st);
}

static void end_on_read(struct stream *st, const uint8_t *p, size_t n, int status)
{
    struct end *e = list_entry(st, struct end, st);

    (void)status;
    if (e->tls != NULL && !e->ended)
        take_tls(e, p, n);
    else if (n > 0)
        assert_int_equal(buf_append(&e->in, p, n), 0);
    if (n == 0)
        e->ended = true;
    if (n == 0 && e->closing)
        stream_close(st);
}

static void end_on_drain(struct stream *st)
{
    (void)st;
}

static void end_on_closed(struct stream *st)
{
    struct end *e = list_entry(st, struct end, st);

    e->closed = true;
    e->ended = true;
}

static const struct stream_ops end_ops = {
    .on_read = end_on_read, .on_drain = end_on_drain, .on_closed = end_on_closed};

static struct end *end_new(struct world *w)
{
    struct end *e = calloc(1, sizeof *e);

    assert_non_null(e);
    assert_true(w->end_count < sizeof w->ends / sizeof w->ends[0]);
    e->w = w;
    e->version = MQTT_V311;
    assert_int_equal(stream_init_tcp(&e->st, &w->env.nl, &end_ops), 0);
    w->ends[w->end_count++] = e;
    return e;
}

static void on_device_connected(uv_connect_t *req, int status)
{
    struct end *e = req->data;

    assert_int_equal(status, 0);
    free(req);
    stream_tune(&e->st);
    stream_read(&e->st, true);
    e->glued = false;
    flush(e);
}

struct end *device_new(struct world *w, int version)
{
    struct end *e = end_new(w);
    struct sockaddr_in sin;
    uv_connect_t *req = malloc(sizeof *req);

    assert_non_null(req);
    e->version = version;
    e->glued = true;
    req->data = e;
    uv_ip4_addr("127.0.0.1", (int)w->port, &sin);
    assert_int_equal(
        uv_tcp_connect(req, &e->st.u.tcp, (struct sockaddr *)&sin, on_device_connected), 0);
    world_until(w, !e->glued);
    return e;
}

static void on_broker_connection(uv_stream_t *listening, int status)
{
    struct world *w = listening->data;
    struct end *e = end_new(w);

    assert_int_equal(status, 0);
    assert_int_equal(uv_accept(listening, &e->st.u.stream), 0);
    stream_tune(&e->st);
    e->of_other = listening == (uv_stream_t *)&w->other_broker;
    if (w->broker_deaf) {
        stream_read(&e->st, true);
        return;
    }
    e->tls = tls_conn_new(
        &(struct tls_conn_args){.ctx = w->broker_refuses_new ? w->broker_ctx_strict : w->broker_ctx,
                                .out = &e->st.out},
        NULL);
    assert_non_null(e->tls);
    stream_read(&e->st, true);
}

static struct end *next_of_broker(const struct world *w)
{
    for (unsigned i = w->broker_taken; i < w->end_count; i++)
        if (w->ends[i]->tls != NULL && tls_conn_established(w->ends[i]->tls))
            return w->ends[i];
    return NULL;
}

bool broker_has_next(const struct world *w)
{
    return next_of_broker(w) != NULL;
}

struct end *broker_next(struct world *w)
{
    struct end *e;

    world_until(w, broker_has_next(w));
    e = next_of_broker(w);
    while (w->ends[w->broker_taken++] != e)
        ;
    return e;
}

void glue(struct end *e)
{
    e->glued = true;
}

void unglue(struct end *e)
{
    e->glued = false;
    flush(e);
}

void end_finish(struct end *e)
{
    flush(e);
    if (e->closing || e->closed)
        return;
    if (e->tls != NULL) {
        stream_prepare(&e->st);
        tls_conn_shutdown(e->tls);
    }
    e->closing = true;
    stream_end(&e->st);
    if (e->ended)
        stream_close(&e->st);
}

void end_reset(struct end *e)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    uv_os_fd_t fd;

    assert_int_equal(uv_fileno(&e->st.u.handle, &fd), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    e->closing = true;
    stream_close(&e->st);
}

static int peek(struct end *e, struct mqtt_packet *pkt)
{
    uint32_t need;

    return mqtt_packet_peek(e->in.p + e->in_at, e->in.len - e->in_at, MQTT_LARGEST_PACKET, pkt,
                            &need);
}

bool end_has_packet(struct end *e)
{
    struct mqtt_packet pkt;

    return e->in.len > e->in_at && peek(e, &pkt) == 1;
}

struct mqtt_packet end_packet(struct end *e, const char *file, int at)
{
    struct mqtt_packet pkt;

    for (unsigned turns = 0; !end_has_packet(e); turns++) {
        if (e->ended)
            fail_msg("%s:%d: the connection ended", file, at);
        if (turns > 4000)
            fail_msg("%s:%d: no packet came", file, at);
        world_turn(e->w);
    }
    assert_int_equal(peek(e, &pkt), 1);
    e->in_at += pkt.raw_bytes;
    return pkt;
}

void end_sees(struct end *e, const char *text, const char *file, int at)
{
    struct mqtt_packet pkt = end_packet(e, file, at);
    const char *is = describe(&pkt, e->version);

    if (strcmp(is, text) != 0)
        fail_msg("%s:%d: came \"%s\", not \"%s\"", file, at, is, text);
}

void end_sees_end(struct end *e, const char *file, int at)
{
    struct mqtt_packet pkt;

    for (unsigned turns = 0; !e->ended; turns++) {
        if (turns > 4000)
            fail_msg("%s:%d: the connection goes on", file, at);
        world_turn(e->w);
    }
    if (end_has_packet(e)) {
        assert_int_equal(peek(e, &pkt), 1);
        fail_msg("%s:%d: \"%s\" came before the end", file, at, describe(&pkt, e->version));
    }
}

/* ---- packets as text ---- */

static char words[1024];
static size_t words_at;

static void word(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void word(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    words_at += (size_t)vsnprintf(words + words_at, sizeof words - words_at, fmt, args);
    va_end(args);
    assert_true(words_at < sizeof words);
}

static void prop_words(struct mqtt_props props)
{
    struct mqtt_prop_value v;
    uint32_t at = 0;

    while (mqtt_props_next(props, &at, &v)) {
        word(" %s=", mqtt_prop_name(v.id));
        if (v.id == MQTT_PROP_USER_PROPERTY)
            word(SLICE_FMT ":" SLICE_FMT, SLICE_ARG(v.str), SLICE_ARG(v.value));
        else if (v.str.p != NULL)
            word(SLICE_FMT, SLICE_ARG(v.str));
        else
            word("%u", v.num);
    }
}

static void connect_words(const struct mqtt_packet *pkt)
{
    struct mqtt_connect c;
    uint8_t reason;

    assert_int_equal(mqtt_connect_read(pkt, &c, &reason, NULL), 0);
    word("CONNECT %s " SLICE_FMT "%s ka=%u", mqtt_version_name(c.version), SLICE_ARG(c.client_id),
         c.clean ? " clean" : "", c.keepalive_s);
    if (c.has_will)
        word(" will=" SLICE_FMT, SLICE_ARG(c.will_topic));
    if (c.has_username)
        word(" user=" SLICE_FMT, SLICE_ARG(c.username));
    if (c.has_password)
        word(" password=" SLICE_FMT, SLICE_ARG(c.password));
    prop_words(c.props);
}

static void publish_words(const struct mqtt_packet *pkt, int version)
{
    struct mqtt_publish p;
    struct err err = {0};
    uint8_t reason;

    /* Either direction: a subscription identifier is all that tells them apart. */
    if (mqtt_publish_read(pkt, version, MQTT_TO_CLIENT, &p, &reason, &err) != 0)
        fail_msg("%s", err.msg);
    word("PUBLISH q%u", p.qos);
    if (p.packet_id != 0)
        word(" #%u", p.packet_id);
    if (p.dup)
        word(" dup");
    if (p.retain)
        word(" retain");
    word(" " SLICE_FMT " ", SLICE_ARG(p.topic));
    if (p.payload.n > 64)
        word("<%zu bytes>", p.payload.n);
    else
        word(SLICE_FMT, SLICE_ARG(p.payload));
    prop_words(p.props);
}

static void subscribe_words(const struct mqtt_packet *pkt, int version)
{
    struct mqtt_subscribe s;
    struct mqtt_filter f;
    uint32_t at = 0;
    uint8_t reason;

    assert_int_equal(mqtt_subscribe_read(pkt, version, &s, &reason, NULL), 0);
    word("%s #%u", mqtt_type_name(pkt->type), s.packet_id);
    while (mqtt_subscribe_next(&s, pkt->type, &at, &f)) {
        word(" " SLICE_FMT, SLICE_ARG(f.filter));
        if (pkt->type == MQTT_SUBSCRIBE)
            word(":%u", f.options);
    }
    prop_words(s.props);
}

static void suback_words(const struct mqtt_packet *pkt, int version)
{
    struct mqtt_suback s;
    uint8_t reason;

    assert_int_equal(mqtt_suback_read(pkt, version, &s, &reason, NULL), 0);
    word("%s #%u", mqtt_type_name(pkt->type), s.packet_id);
    for (size_t i = 0; i < s.codes.n; i++)
        word(" %02x", s.codes.p[i]);
    prop_words(s.props);
}

static void code_words(uint8_t code, struct mqtt_props props)
{
    if (code != 0)
        word(" 0x%02x", code);
    prop_words(props);
}

const char *describe(const struct mqtt_packet *pkt, int version)
{
    struct mqtt_connack k = {0};
    struct mqtt_disconnect d = {0};
    struct mqtt_auth u = {0};
    struct mqtt_ack a = {0};
    uint8_t reason;

    words_at = 0;
    words[0] = '\0';
    switch (pkt->type) {
    case MQTT_CONNECT:
        connect_words(pkt);
        break;
    case MQTT_CONNACK:
        assert_int_equal(mqtt_connack_read(pkt, version, &k, &reason, NULL), 0);
        word("CONNACK%s", k.session_present ? " present" : "");
        code_words(k.code, k.props);
        break;
    case MQTT_PUBLISH:
        publish_words(pkt, version);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        assert_int_equal(mqtt_ack_read(pkt, version, &a, &reason, NULL), 0);
        word("%s #%u", mqtt_type_name(pkt->type), a.packet_id);
        code_words(a.reason, a.props);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        subscribe_words(pkt, version);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        suback_words(pkt, version);
        break;
    case MQTT_DISCONNECT:
        assert_int_equal(
            mqtt_disconnect_read(pkt, version, MQTT_TO_SERVER, &d, &reason, NULL) == 0 ||
                mqtt_disconnect_read(pkt, version, MQTT_TO_CLIENT, &d, &reason, NULL) == 0,
            1);
        word("DISCONNECT");
        code_words(d.reason, d.props);
        break;
    case MQTT_AUTH:
        assert_int_equal(mqtt_auth_read(pkt, &u, &reason, NULL), 0);
        word("AUTH");
        code_words(u.reason, u.props);
        break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    default:
        word("%s", mqtt_type_name(pkt->type));
        break;
    }
    return words;
}

/* ---- saying ---- */

void say_bytes(struct end *e, const void *p, size_t n)
{
    assert_int_equal(buf_append(&e->out, p, n), 0);
    flush(e);
}

static struct mqtt_props props_of(const struct buf *b)
{
    return b != NULL ? (struct mqtt_props){b->p, (uint32_t)b->len} : (struct mqtt_props){0};
}

void say_connect(struct end *e, const struct mqtt_connect *c)
{
    struct mqtt_connect mine = *c;

    mine.version = e->version;
    assert_int_equal(mqtt_connect_write(&e->out, &mine), 0);
    flush(e);
}

/* Who is accepted ends the connection that was accepted before [MQTT-3.1.4-2]. */
static void end_predecessors(struct end *e)
{
    struct world *w = e->w;

    if (!w->keeps_predecessors)
        for (unsigned i = 0; i < w->end_count; i++)
            if (w->ends[i] != e && w->ends[i]->greeted && w->ends[i]->of_other == e->of_other &&
                !w->ends[i]->closing && !w->ends[i]->closed)
                end_finish(w->ends[i]);
    e->greeted = true;
}

void say_connack(struct end *e, bool present, uint8_t code, const struct buf *props)
{
    struct mqtt_connack k = {.session_present = present, .code = code, .props = props_of(props)};

    if (code == 0)
        end_predecessors(e);

    assert_int_equal(mqtt_connack_write(&e->out, e->version, &k), 0);
    flush(e);
}

void say_publish_full(struct end *e, const struct mqtt_publish *p)
{
    assert_int_equal(mqtt_publish_write(&e->out, e->version, p), 0);
    flush(e);
}

void say_publish(struct end *e, uint8_t qos, uint16_t id, const char *topic, const char *payload)
{
    say_publish_full(e, &(struct mqtt_publish){.qos = qos,
                                               .packet_id = id,
                                               .topic = slice_of(topic),
                                               .payload = slice_of(payload)});
}

void say_ack(struct end *e, enum mqtt_type type, uint16_t id, uint8_t reason)
{
    assert_int_equal(mqtt_ack_write(&e->out, e->version, type,
                                    &(struct mqtt_ack){.packet_id = id, .reason = reason}),
                     0);
    flush(e);
}

void say_subscribe(struct end *e, uint16_t id, const char *filter, uint8_t options)
{
    struct mqtt_filter f = {slice_of(filter), options};

    assert_int_equal(mqtt_subscribe_write(&e->out, e->version, MQTT_SUBSCRIBE, id,
                                          (struct mqtt_props){0}, &f, 1),
                     0);
    flush(e);
}

void say_unsubscribe(struct end *e, uint16_t id, const char *filter)
{
    struct mqtt_filter f = {slice_of(filter), 0};

    assert_int_equal(mqtt_subscribe_write(&e->out, e->version, MQTT_UNSUBSCRIBE, id,
                                          (struct mqtt_props){0}, &f, 1),
                     0);
    flush(e);
}

void say_suback(struct end *e, enum mqtt_type type, uint16_t id, const char *codes, size_t n)
{
    size_t extra = e->version == MQTT_V5 ? 1 : 0;
    uint8_t head[] = {(uint8_t)(type << 4), (uint8_t)(2 + extra + n), (uint8_t)(id >> 8),
                      (uint8_t)id, 0};

    assert_int_equal(buf_append(&e->out, head, 4 + extra), 0);
    assert_int_equal(buf_append(&e->out, codes, n), 0);
    flush(e);
}

void say_ping(struct end *e, enum mqtt_type type)
{
    assert_int_equal(mqtt_ping_write(&e->out, type), 0);
    flush(e);
}

void say_disconnect(struct end *e, uint8_t reason, const struct buf *props)
{
    struct mqtt_disconnect d = {.reason = reason, .props = props_of(props)};

    assert_int_equal(mqtt_disconnect_write(&e->out, e->version, &d), 0);
    flush(e);
}

/* ---- news ---- */

static void news_up(void *arg, const struct session *s)
{
    struct world *w = arg;

    buf_printf(&w->news, "up %s\n", s->dev->name);
}

static void news_down(void *arg, const struct session *s, const char *why)
{
    struct world *w = arg;

    buf_printf(&w->news, "down %s: %s\n", s->dev->name, why);
}

static void news_leg(void *arg, const struct session *s, const struct session_leg_news *n)
{
    struct world *w = arg;

    (void)s;
    if (n->what == LEG_NEWS_PROVEN) {
        assert_true(n->echo_us > 0);
        buf_printf(&w->news, "proven %s\n", flip_slot_name(n->slot));
        return;
    }
    if (n->what == LEG_NEWS_REFUSED) {
        buf_printf(&w->news, "refused %s: %s %s%s\n", flip_slot_name(n->slot),
                   diag_class_name(n->diag->class), n->diag->name, n->refusal == 0 ? " ours" : "");
        snprintf(w->refused, sizeof w->refused, "%s", n->diag->sentence);
        return;
    }
    if (n->what != LEG_NEWS_ACCEPTED) {
        buf_printf(&w->news, "%s %s: %s\n", n->what == LEG_NEWS_LOST ? "lost" : "failed",
                   flip_slot_name(n->slot), diag_class_name(n->diag->class));
        return;
    }
    buf_printf(&w->news, "accepted %s%s%s", flip_slot_name(n->slot),
               n->session_present ? " present" : "", n->rehomed ? " rehomed" : "");
    if (n->replayed != 0 || n->restored != 0 || n->lost != 0)
        buf_printf(&w->news, " replayed=%u restored=%u lost=%u", n->replayed, n->restored, n->lost);
    buf_printf(&w->news, "\n");
}

static void news_refused(void *arg, const char *listener, const char *peer, const char *device,
                         const char *code, const char *text)
{
    struct world *w = arg;

    assert_true(strlen(listener) > 0 && strlen(peer) > 0 && strlen(text) > 0);
    buf_printf(&w->news, "refused %s: %s\n", *device != '\0' ? device : "?", code);
}

static const struct session_news news = {
    .up = news_up, .down = news_down, .leg = news_leg, .refused = news_refused};

bool world_has_news(const struct world *w)
{
    return w->news.len > w->news_at;
}

void world_tells(struct world *w, const char *line, const char *file, int at)
{
    for (unsigned turns = 0; !world_has_news(w); turns++) {
        if (turns > 4000)
            fail_msg("%s:%d: no news, not \"%s\"", file, at, line);
        world_turn(w);
    }
    const char *is = (const char *)w->news.p + w->news_at;
    size_t n = (size_t)((const char *)memchr(is, '\n', w->news.len - w->news_at) - is);
    w->news_at += n + 1;
    if (n != strlen(line) || memcmp(is, line, n) != 0)
        fail_msg("%s:%d: news is \"%.*s\", not \"%s\"", file, at, (int)n, is, line);
}

/* ---- the world ---- */

static void on_device_connection(uv_stream_t *listening, int status)
{
    struct world *w = listening->data;

    assert_int_equal(status, 0);
    session_accept(&w->env, listening, 0);
}

static unsigned listen_at(struct world *w, uv_tcp_t *tcp, const char *address, uv_connection_cb cb)
{
    struct sockaddr_in sin;
    int len = sizeof sin;

    uv_ip4_addr(address, 0, &sin);
    uv_tcp_init(&w->loop, tcp);
    tcp->data = w;
    assert_int_equal(uv_tcp_bind(tcp, (struct sockaddr *)&sin, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)tcp, 64, cb), 0);
    assert_int_equal(uv_tcp_getsockname(tcp, (struct sockaddr *)&sin, &len), 0);
    return ntohs(sin.sin_port);
}

static const char *or_empty(const char *s)
{
    return s != NULL ? s : "";
}

struct wk_snapshot *world_configure(const struct world *w, const struct world_args *a)
{
    struct buf faults = {0};
    struct err err = {0};
    unsigned count = 0;
    FILE *f = fopen(path("certflip.conf"), "w");

    assert_non_null(f);
    fprintf(f,
            "gateway = \"gw\"; workers = 1; state = \"%s\"; identities = \"%s\";\n"
            "listeners = ({ name = \"plain\"; type = \"plaintext\"; address = \"127.0.0.1\";"
            " port = %u; allow = [ \"%s\" ]; });\n"
            "upstreams = ({ name = \"main\"; address = \"127.0.0.1\"; port = %u;"
            " anchors = [ \"%s\" ]; accept_wait_ms = %u; %s }",
            dir, dir, a->port != 0 ? a->port : 1883,
            a->listener != NULL ? a->listener : "127.0.0.0/8", w->broker_port, path("ca-old.pem"),
            a->accept_wait_ms, or_empty(a->upstream));
    if (a->other != NULL)
        fprintf(f,
                ", { name = \"other\"; address = \"%s\"; server_name = \"127.0.0.1\"; port = %u;"
                " anchors = [ \"%s\" ]; accept_wait_ms = %u; %s }",
                a->other_host != NULL ? a->other_host : "127.0.0.1", w->other_port,
                path("ca-old.pem"), a->accept_wait_ms, a->other);
    const char *profiles = a->other != NULL ? "upstream = \"main\"; upstream_new = \"other\";" : "";
    fprintf(f,
            ");\n"
            "devices = (\n"
            "  { name = \"d9\"; match = { username = \"d9\"; }; %s %s },\n"
            "  { name = \"{client_id}\"; match = { client_id = \"?*\"; }; %s %s });\n"
            "limits = { %s }; flip = { %s };\n",
            profiles, or_empty(a->rule), profiles, or_empty(a->rule), or_empty(a->limits),
            or_empty(a->flip));
    assert_int_equal(fclose(f), 0);
    struct conf *conf = conf_load(path("certflip.conf"), &faults, &count);
    if (conf == NULL)
        fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
    struct wk_snapshot *snap = snapshot_new(conf, NULL, &err);
    if (snap == NULL)
        fail_msg("%s", err.msg);
    conf_unref(conf);
    buf_fini(&faults);
    return snap;
}

struct device *world_device(struct world *w, const char *name)
{
    struct device *dev = map_get(w->env.devices, name);

    if (dev != NULL)
        return dev;
    dev = calloc(1, sizeof *dev);
    assert_non_null(dev);
    dev->name = strdup(name);
    dev->cred[FLIP_OLD] = load_cred("old");
    dev->cred[FLIP_NEW] = load_cred("new");
    dev->flip_seq = 1;
    dev->presence = presence_new();
    assert_non_null(dev->presence);
    list_init(&dev->sessions);
    assert_int_equal(map_put(w->env.devices, name, dev), 0);
    return dev;
}

static void on_tick(uv_timer_t *t)
{
    (void)t; /* wakes the loop */
}

struct world *world_new(const struct world_args *args)
{
    static const struct world_args none;
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(net_loop_init(&w->env.nl, &w->loop), 0);
    w->env.devices = map_new();
    w->env.plain = malloc(ENV_PLAIN_BYTES);
    assert_true(w->env.devices != NULL && w->env.plain != NULL);
    w->env.news = &news;
    w->env.news_arg = w;
    w->env.next_session_id = 1;
    list_init(&w->env.sessions);
    env_gates_init(&w->env);
    list_init(&w->env.lingering);
    list_init(&w->env.cleaners);
    uv_timer_init(&w->loop, &w->tick);
    uv_timer_start(&w->tick, on_tick, 2, 2);
    w->broker_ctx = server_ctx("ca-both.pem");
    w->broker_ctx_strict = server_ctx("ca-old.pem");
    w->broker_port = listen_at(w, &w->broker, "127.0.0.1", on_broker_connection);
    w->other_port =
        listen_at(w, &w->other_broker,
                  args != NULL && args->other_host != NULL ? args->other_host : "127.0.0.1",
                  on_broker_connection);
    w->port = listen_at(w, &w->listening, "127.0.0.1", on_device_connection);
    w->env.snap = world_configure(w, args != NULL ? args : &none);
    world_device(w, "d1");
    world_device(w, "d2");
    the_world = w;
    return w;
}

void world_turn(struct world *w)
{
    uv_run(&w->loop, UV_RUN_ONCE);
}

void world_stop_broker(struct world *w)
{
    uv_close((uv_handle_t *)&w->broker, NULL);
}

static void close_one(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void free_devices(struct world *w)
{
    const char *name;
    void *value;
    size_t it = 0;

    while (map_next(w->env.devices, &it, &name, &value)) {
        struct device *dev = value;
        cleaner_cancel(dev);
        presence_unref(dev->presence);
        cred_unref(dev->cred[FLIP_OLD]);
        cred_unref(dev->cred[FLIP_NEW]);
        free(dev->name);
        free(dev);
    }
    map_free(w->env.devices);
}

static void world_free(struct world *w)
{
    the_world = NULL;
    close_one((uv_handle_t *)&w->broker);
    close_one((uv_handle_t *)&w->other_broker);
    close_one((uv_handle_t *)&w->listening);
    w->env.stopping = true;
    list_for_each_safe (it, &w->env.sessions)
        session_end(list_entry(it, struct session, link), 0, true, "the test is over");
    world_turn(w);
    leg_sweep(&w->env);
    world_turn(w);
    leg_sweep(&w->env);
    free_devices(w);
    leg_sweep(&w->env);
    for (unsigned i = 0; i < w->end_count; i++)
        stream_close(&w->ends[i]->st);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0); /* no handle is left */
    assert_true(list_empty(&w->env.sessions));
    assert_true(list_empty(&w->env.lingering));
    assert_true(list_empty(&w->env.cleaners));
    assert_int_equal(w->env.stats.sessions, 0);
    assert_int_equal(w->env.stats.legs_up, 0);
    assert_int_equal(w->env.handshakes, 0);
    for (unsigned i = 0; i < w->end_count; i++) {
        struct end *e = w->ends[i];
        tls_conn_free(e->tls);
        buf_fini(&e->in);
        buf_fini(&e->out);
        free(e);
    }
    tls_ctx_unref(w->broker_ctx);
    tls_ctx_unref(w->broker_ctx_strict);
    snapshot_unref(w->env.snap);
    net_loop_fini(&w->env.nl);
    free(w->env.plain);
    buf_fini(&w->news);
    free(w);
}

int world_end(void **state)
{
    (void)state;
    if (the_world != NULL)
        world_free(the_world);
    return 0;
}

void world_use(struct world *w, const char *device, enum flip_slot slot)
{
    struct device *dev = world_device(w, device);

    dev->active = slot;
    if (slot == FLIP_OLD)
        dev->evidence = 0;
    dev->flip_seq++;
    list_for_each_safe (it, &dev->sessions)
        session_device_changed(list_entry(it, struct session, of_device));
}

struct session *world_session(struct world *w, const char *device)
{
    struct device *dev = world_device(w, device);

    return list_empty(&dev->sessions) ? NULL
                                      : list_entry(dev->sessions.prev, struct session, of_device);
}

void world_try(struct world *w, const char *device, unsigned evidence)
{
    world_device(w, device)->evidence = evidence;
    world_use(w, device, FLIP_NEW);
}

void world_due(struct session *s)
{
    uint64_t now = env_now_ms(s->env);

    if (s->due_ms != 0)
        s->due_ms = now;
    if (s->behind_ms != 0)
        s->behind_ms = now;
    if (s->retry_ms != 0)
        s->retry_ms = now;
    s->timer_ms = 0;
    session_arm(s);
}

/* ---- scenes ---- */

const struct mqtt_connect world_lasting = {.client_id = {(const uint8_t *)"d1", 2},
                                           .keepalive_s = 60};
const struct mqtt_connect world_clean = {
    .client_id = {(const uint8_t *)"d1", 2}, .keepalive_s = 60, .clean = true};

void world_connack(struct world *w, struct end *brk, bool present)
{
    struct buf props = {0};

    if (brk->version == MQTT_V5 && w->alias_most > 0)
        mqtt_props_put_num(&props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM, w->alias_most);
    say_connack(brk, present, 0, &props);
    buf_fini(&props);
}

struct end *world_broker_accepts(struct world *w, int version, bool present)
{
    struct end *brk = broker_next(w);

    brk->version = version;
    struct mqtt_packet pkt = end_packet(brk, __FILE__, __LINE__);
    assert_int_equal(pkt.type, MQTT_CONNECT);
    world_connack(w, brk, present);
    return brk;
}

struct pair world_open(struct world *w, int version, const struct mqtt_connect *c)
{
    return world_open_as(w, version, version, c);
}

struct pair world_open_as(struct world *w, int version, int upstream, const struct mqtt_connect *c)
{
    struct pair p = {.dev = device_new(w, version)};

    say_connect(p.dev, c);
    p.brk = world_broker_accepts(w, upstream, false);
    if (w->alias_most > 0 && version == MQTT_V5)
        sees(p.dev, "CONNACK topic-alias-maximum=10");
    else
        sees(p.dev, "CONNACK");
    tells(w, "up d1");
    tells(w, "accepted old");
    return p;
}

void world_quiet(const struct pair *p, const char *file, int at)
{
    say_ping(p->dev, MQTT_PINGREQ);
    end_sees(p->brk, "PINGREQ", file, at);
    say_ping(p->brk, MQTT_PINGRESP);
    end_sees(p->dev, "PINGRESP", file, at);
}
