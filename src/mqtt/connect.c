/* mqtt/connect.c - CONNECT, CONNACK, DISCONNECT, AUTH: the packets that begin and end a connection.
 */
#include "mqtt/connect.h"

#include "catalogue/catalogue.h"
#include "mqtt/fault.h"
#include "mqtt/rd.h"
#include "mqtt/topic.h"
#include "mqtt/wr.h"

/* Connect flags, 3.1.2.3 */
#define FLAG_RESERVED    0x01u
#define FLAG_CLEAN       0x02u
#define FLAG_WILL        0x04u
#define FLAG_WILL_QOS    0x18u
#define FLAG_WILL_RETAIN 0x20u
#define FLAG_PASSWORD    0x40u
#define FLAG_USERNAME    0x80u
#define WILL_QOS_SHIFT   3

#define LEVEL_BRIDGE 0x80u /* not in the standards: bridges mark their connections so in 3.x */

static const struct dialect {
    const char *name;
    int version;
} dialects[] = {
    {"MQIsdp", MQTT_V31},
    {"MQTT", MQTT_V311},
    {"MQTT", MQTT_V5},
};

#define DIALECTS (sizeof dialects / sizeof dialects[0])

static const char *protocol_name(int version)
{
    return version == MQTT_V31 ? dialects[0].name : dialects[1].name;
}

/* Which version do name and level ask for?  An unknown level of a known name is to be refused with
 * CONNACK code 1 [MQTT-3.1.2-2], so out->version then names a dialect that has it. */
static int read_version(struct rd *r, struct mqtt_connect *out, bool *bridge, uint8_t *reason,
                        struct err *err)
{
    struct slice name;
    uint8_t level;

    out->version = 0;
    if (!rd_bin(r, &name))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "CONNECT: cut short in the protocol name");
    if (!slice_is(name, protocol_name(MQTT_V31)) && !slice_is(name, protocol_name(MQTT_V5)))
        return mqtt_fault(reason, MQTT_R_UNSUPPORTED_VERSION, err,
                          "CONNECT: unknown protocol name [MQTT-3.1.2-1]");
    if (!rd_u8(r, &level))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "CONNECT: cut short in the protocol level");
    for (size_t i = 0; i < DIALECTS; i++) {
        const struct dialect *d = &dialects[i];

        if (slice_is(name, d->name) &&
            (level == d->version ||
             (d->version != MQTT_V5 && level == ((unsigned)d->version | LEVEL_BRIDGE)))) {
            out->version = d->version;
            *bridge = (level & LEVEL_BRIDGE) != 0;
            return 0;
        }
    }
    out->version = slice_is(name, protocol_name(MQTT_V31)) ? MQTT_V31 : MQTT_V311;
    return mqtt_fault(reason, MQTT_R_UNSUPPORTED_VERSION, err,
                      "CONNECT: protocol " SLICE_FMT " level %u is not supported [MQTT-3.1.2-2]",
                      SLICE_ARG(name), level);
}

static int read_flags(struct mqtt_connect *c, uint8_t flags, uint8_t *reason, struct err *err)
{
    c->clean = (flags & FLAG_CLEAN) != 0;
    c->has_will = (flags & FLAG_WILL) != 0;
    c->will_qos = (uint8_t)((flags & FLAG_WILL_QOS) >> WILL_QOS_SHIFT);
    c->will_retain = (flags & FLAG_WILL_RETAIN) != 0;
    c->has_username = (flags & FLAG_USERNAME) != 0;
    c->has_password = (flags & FLAG_PASSWORD) != 0;

    if (c->has_password && !c->has_username && c->version != MQTT_V5)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "CONNECT: a password without a user name [MQTT-3.1.2-22]");
    if (c->version == MQTT_V31 && !c->has_will) {
        /* 3.1 calls bit 0 unused and gives the Will's bits no meaning without a Will. */
        c->will_qos = 0;
        c->will_retain = false;
    }
    if (c->version != MQTT_V31 && (flags & FLAG_RESERVED) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "CONNECT: the reserved flag is set [MQTT-3.1.2-3]");
    if (c->will_qos > 2)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "CONNECT: Will QoS 3 [MQTT-3.1.2-12]");
    if (!c->has_will && (c->will_qos != 0 || c->will_retain))
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "CONNECT: Will QoS or Will Retain without a Will [MQTT-3.1.2-11, -13]");
    return 0;
}

/* In 3.1 "the Remaining Length takes precedence over the flag": a login that was announced may be
 * missing at the packet's end. */
static bool login_missing(const struct mqtt_connect *c, const struct rd *r)
{
    return c->version == MQTT_V31 && rd_left(r) == 0;
}

static bool read_payload(struct rd *r, struct mqtt_connect *c)
{
    if (!rd_str(r, &c->client_id)) /* [MQTT-3.1.3-3, -4] */
        return false;
    if (c->has_will) {
        if (c->version == MQTT_V5 && !rd_props(r, &c->will_props))
            return false;
        if (!rd_str(r, &c->will_topic) || !rd_bin(r, &c->will_payload)) /* [MQTT-3.1.3-11] */
            return false;
    }
    if (c->has_username && login_missing(c, r))
        c->has_username = c->has_password = false;
    if (c->has_username && !rd_str(r, &c->username)) /* [MQTT-3.1.3-12] */
        return false;
    if (c->has_password && login_missing(c, r))
        c->has_password = false;
    return (!c->has_password || rd_bin(r, &c->password)) && rd_left(r) == 0;
}

static int check_payload(const struct mqtt_connect *c, uint8_t *reason, struct err *err)
{
    int rc = 0;

    if (c->version == MQTT_V5 && c->has_will)
        rc = mqtt_props_check(c->will_props, MQTT_PROPS_WILL, reason, err);
    if (rc != 0)
        return rc;
    if (c->has_will && !mqtt_topic_valid(c->will_topic)) /* [MQTT-4.7.1-1], [MQTT-4.7.3-1] */
        return mqtt_fault(reason, MQTT_R_TOPIC_INVALID, err,
                          "CONNECT: the Will's topic is empty or has wildcards");
    if (c->client_id.n == 0 && (c->version == MQTT_V31 || (c->version == MQTT_V311 && !c->clean)))
        return mqtt_fault(reason, MQTT_R_CLIENT_ID_INVALID, err,
                          "CONNECT: an empty client identifier needs a clean session, and 3.1.1 or "
                          "later [MQTT-3.1.3-8]");
    return 0;
}

int mqtt_connect_read(const struct mqtt_packet *pkt, struct mqtt_connect *out, uint8_t *reason,
                      struct err *err)
{
    struct mqtt_connect c = {.version = 0};
    struct rd r = rd_of(pkt->body, pkt->body_bytes);
    uint8_t flags;
    int rc;

    rc = read_version(&r, out, &c.bridge, reason, err);
    if (rc != 0)
        return rc;
    c.version = out->version;
    if (c.version == MQTT_V5 && rd_length_is_overlong(pkt))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "CONNECT: remaining length longer than needed [MQTT-1.5.5-1]");
    if (!rd_u8(&r, &flags) || !rd_u16(&r, &c.keepalive_s) ||
        (c.version == MQTT_V5 && !rd_props(&r, &c.props)))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "CONNECT: cut short in its header");
    rc = read_flags(&c, flags, reason, err);
    if (rc != 0)
        return rc;
    if (c.version == MQTT_V5) {
        rc = mqtt_props_check(c.props, MQTT_CONNECT, reason, err);
        if (rc != 0)
            return rc;
    }
    if (!read_payload(&r, &c)) /* [MQTT-3.1.3-1] */
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "CONNECT: the payload is cut short, too long, or not UTF-8");
    rc = check_payload(&c, reason, err);
    if (rc != 0)
        return rc;
    *out = c;
    return 0;
}

static uint8_t connect_flags(const struct mqtt_connect *c)
{
    unsigned flags = c->clean ? FLAG_CLEAN : 0;

    if (c->has_will)
        flags |= FLAG_WILL | (unsigned)c->will_qos << WILL_QOS_SHIFT |
                 (c->will_retain ? FLAG_WILL_RETAIN : 0);
    if (c->has_username)
        flags |= FLAG_USERNAME;
    if (c->has_password)
        flags |= FLAG_PASSWORD;
    return (uint8_t)flags;
}

static size_t connect_bytes(const struct mqtt_connect *c)
{
    size_t n = wr_bin_bytes(slice_of(protocol_name(c->version))) + 1 + 1 + 2;

    if (c->version == MQTT_V5)
        n += wr_props_bytes(c->props);
    n += wr_bin_bytes(c->client_id);
    if (c->has_will) {
        if (c->version == MQTT_V5)
            n += wr_props_bytes(c->will_props);
        n += wr_bin_bytes(c->will_topic) + wr_bin_bytes(c->will_payload);
    }
    if (c->has_username)
        n += wr_bin_bytes(c->username);
    if (c->has_password)
        n += wr_bin_bytes(c->password);
    return n;
}

static bool fits(bool present, struct slice s)
{
    return !present || s.n <= UINT16_MAX;
}

int mqtt_connect_write(struct buf *b, const struct mqtt_connect *c)
{
    struct wr w;
    int rc;

    if (!fits(true, c->client_id) || !fits(c->has_will, c->will_topic) ||
        !fits(c->has_will, c->will_payload) || !fits(c->has_username, c->username) ||
        !fits(c->has_password, c->password))
        return -ERR_TOO_BIG;
    rc = wr_open(&w, b, MQTT_CONNECT, 0, connect_bytes(c));
    if (rc != 0)
        return rc;
    wr_bin(&w, slice_of(protocol_name(c->version)));
    wr_u8(&w, (uint8_t)((unsigned)c->version | (c->bridge ? LEVEL_BRIDGE : 0)));
    wr_u8(&w, connect_flags(c));
    wr_u16(&w, c->keepalive_s);
    if (c->version == MQTT_V5)
        wr_props(&w, c->props);
    wr_bin(&w, c->client_id);
    if (c->has_will) {
        if (c->version == MQTT_V5)
            wr_props(&w, c->will_props);
        wr_bin(&w, c->will_topic);
        wr_bin(&w, c->will_payload);
    }
    if (c->has_username)
        wr_bin(&w, c->username);
    if (c->has_password)
        wr_bin(&w, c->password);
    return wr_close(&w, b);
}

/* CONNACK */

static bool connack_code_allowed(int version, uint8_t code)
{
    return version == MQTT_V5 ? mqtt_reason_allowed(code, MQTT_CONNACK, MQTT_TO_CLIENT)
                              : code <= 5; /* 3.2.2.3 */
}

int mqtt_connack_read(const struct mqtt_packet *pkt, int version, struct mqtt_connack *out,
                      uint8_t *reason, struct err *err)
{
    struct mqtt_connack c = {.code = 0};
    uint8_t flags;
    struct rd r;
    int rc;

    rc = mqtt_open(pkt, version, &r, reason, err);
    if (rc != 0)
        return rc;
    if (!rd_u8(&r, &flags) || !rd_u8(&r, &c.code))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "CONNACK: cut short");
    if (version == MQTT_V5 && rd_left(&r) == 0 && flags == 0 && c.code == 1)
        c.code = MQTT_R_UNSUPPORTED_VERSION; /* a server of 3.x, refusing in its own dialect */
    else if (version == MQTT_V5 && !rd_props(&r, &c.props))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "CONNACK: cut short in its properties");
    if (rd_left(&r) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "CONNACK: longer than its content");
    if (version == MQTT_V31)
        flags = 0; /* a reserved byte there */
    if ((flags & 0xFE) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "CONNACK: reserved flags are set [MQTT-3.2.2-1]");
    c.session_present = flags != 0;
    if (!connack_code_allowed(version, c.code)) /* [MQTT-3.2.2-8]; 3.1.1: [MQTT-3.2.2-6] */
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "CONNACK: unknown code 0x%02x", c.code);
    if (c.code != 0 && c.session_present)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "CONNACK: a refusal with Session Present [MQTT-3.2.2-6]");
    rc = mqtt_props_check(c.props, MQTT_CONNACK, reason, err);
    if (rc != 0)
        return rc;
    *out = c;
    return 0;
}

int mqtt_connack_write(struct buf *b, int version, const struct mqtt_connack *c)
{
    size_t n = 2 + (version == MQTT_V5 ? wr_props_bytes(c->props) : 0);
    struct wr w;
    int rc;

    rc = wr_open(&w, b, MQTT_CONNACK, 0, n);
    if (rc != 0)
        return rc;
    wr_u8(&w, c->session_present && version != MQTT_V31);
    wr_u8(&w, c->code);
    if (version == MQTT_V5)
        wr_props(&w, c->props);
    return wr_close(&w, b);
}

uint8_t mqtt_connack_code31(uint8_t reason5)
{
    switch (reason5) {
    case 0x00:
        return 0;
    case 0x84: /* unsupported protocol version */
        return 1;
    case 0x85: /* client identifier not valid */
        return 2;
    case 0x86: /* bad user name or password */
        return 4;
    case 0x87: /* not authorized */
    case 0x8A: /* banned */
    case 0x8C: /* bad authentication method */
        return 5;
    default:
        return 3;
    }
}

const char *mqtt_connack_name(int version, uint8_t code)
{
    const struct catalogue_row *row;

    if (version == MQTT_V5)
        return mqtt_reason_name(code);
    row = catalogue_by_code(CATALOGUE_CONNACK, code);
    if (row == NULL)
        return "unknown-code";
    return row->also != NULL ? row->also : row->word;
}

/* DISCONNECT and AUTH: an optional reason, optional properties */

int mqtt_disconnect_read(const struct mqtt_packet *pkt, int version, enum mqtt_dir dir,
                         struct mqtt_disconnect *out, uint8_t *reason, struct err *err)
{
    struct mqtt_disconnect d = {.reason = 0};
    uint64_t seen;
    struct rd r;
    int rc;

    rc = mqtt_open(pkt, version, &r, reason, err);
    if (rc != 0)
        return rc;
    if (version == MQTT_V5) { /* either may be left out, 3.14.2.1 and 3.14.2.2.1 */
        if (rd_left(&r) != 0 && !rd_u8(&r, &d.reason))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err, "DISCONNECT: cut short");
        if (rd_left(&r) != 0 && !rd_props(&r, &d.props))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                              "DISCONNECT: cut short in its properties");
    }
    if (rd_left(&r) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "DISCONNECT: longer than its content");
    if (version == MQTT_V5 && !mqtt_reason_allowed(d.reason, MQTT_DISCONNECT, dir))
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "DISCONNECT: reason 0x%02x has no place here [MQTT-3.14.2-1]", d.reason);
    rc = mqtt_props_scan(d.props, MQTT_DISCONNECT, &seen, reason, err);
    if (rc != 0)
        return rc;
    if (dir == MQTT_TO_CLIENT && (seen & MQTT_PROP_BIT(MQTT_PROP_SESSION_EXPIRY)) != 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "DISCONNECT: session expiry from a server [MQTT-3.14.2-2]");
    *out = d;
    return 0;
}

int mqtt_disconnect_write(struct buf *b, int version, const struct mqtt_disconnect *d)
{
    bool with_props = version == MQTT_V5 && d->props.n != 0;
    bool with_reason = version == MQTT_V5 && (d->reason != 0 || with_props);
    size_t n = (with_reason ? 1 : 0) + (with_props ? wr_props_bytes(d->props) : 0);
    struct wr w;
    int rc;

    rc = wr_open(&w, b, MQTT_DISCONNECT, 0, n);
    if (rc != 0)
        return rc;
    if (with_reason)
        wr_u8(&w, d->reason);
    if (with_props)
        wr_props(&w, d->props);
    return wr_close(&w, b);
}

int mqtt_auth_read(const struct mqtt_packet *pkt, struct mqtt_auth *out, uint8_t *reason,
                   struct err *err)
{
    struct mqtt_auth a = {.reason = 0};
    uint64_t seen;
    struct rd r;
    int rc;

    rc = mqtt_open(pkt, MQTT_V5, &r, reason, err);
    if (rc != 0)
        return rc;
    if (rd_left(&r) != 0 && (!rd_u8(&r, &a.reason) || !rd_props(&r, &a.props)))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "AUTH: cut short");
    if (rd_left(&r) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "AUTH: longer than its content");
    if (!mqtt_reason_allowed(a.reason, MQTT_AUTH, MQTT_TO_SERVER) &&
        !mqtt_reason_allowed(a.reason, MQTT_AUTH, MQTT_TO_CLIENT))
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "AUTH: reason 0x%02x has no place here [MQTT-3.15.2-1]", a.reason);
    rc = mqtt_props_scan(a.props, MQTT_AUTH, &seen, reason, err);
    if (rc != 0)
        return rc;
    /* 3.15.2.2.2 demands a method, 3.15.2.1 lets a success come without anything. */
    if ((a.reason != 0 || a.props.n != 0) && (seen & MQTT_PROP_BIT(MQTT_PROP_AUTH_METHOD)) == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "AUTH: without an authentication method (3.15.2.2.2)");
    *out = a;
    return 0;
}
