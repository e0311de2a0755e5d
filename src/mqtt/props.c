/* mqtt/props.c - MQTT 5 properties (2.2.2.2): the table, and the one walk that both checks and
 * decodes. */
#include "mqtt/props.h"

#include <stddef.h>

#include "mqtt/fault.h"
#include "mqtt/rd.h"
#include "mqtt/topic.h"
#include "mqtt/wr.h"

enum kind {
    NONE, /* no such property */
    BYTE,
    TWO,
    FOUR,
    VARINT,
    STRING,
    TOPIC, /* a string that names a topic: no wildcards [MQTT-3.3.2-14] */
    BINARY,
    PAIR, /* two strings */
};

struct row {
    const char *name;
    enum kind kind;
    unsigned places;      /* packet types where it may stand, as bits; bit 0: the Will */
    unsigned many;        /* the places where it may stand more than once */
    uint32_t least, most; /* of integers */
};

#define IN(type)  (1u << MQTT_##type)
#define IN_WILL   (1u << MQTT_PROPS_WILL)
#define IN_ACKS   (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define IN_REASON (IN_ACKS | IN(CONNACK) | IN(DISCONNECT) | IN(AUTH))
#define IN_ANY    (IN_REASON | IN_WILL | IN(CONNECT) | IN(PUBLISH) | IN(SUBSCRIBE) | IN(UNSUBSCRIBE))
#define IN_LOGIN  (IN(CONNECT) | IN(CONNACK))
#define ANY       UINT32_MAX

/* clang-format off */
static const struct row rows[] = {
    /*                                    name                            kind    places                   many         least most */
    [MQTT_PROP_PAYLOAD_FORMAT]        = { "payload-format-indicator",     BYTE,   IN(PUBLISH) | IN_WILL,   0,           0, 1 },
    [MQTT_PROP_MESSAGE_EXPIRY]        = { "message-expiry-interval",      FOUR,   IN(PUBLISH) | IN_WILL,   0,           0, ANY },
    [MQTT_PROP_CONTENT_TYPE]          = { "content-type",                 STRING, IN(PUBLISH) | IN_WILL,   0,           0, 0 },
    [MQTT_PROP_RESPONSE_TOPIC]        = { "response-topic",               TOPIC,  IN(PUBLISH) | IN_WILL,   0,           0, 0 },
    [MQTT_PROP_CORRELATION_DATA]      = { "correlation-data",             BINARY, IN(PUBLISH) | IN_WILL,   0,           0, 0 },
    [MQTT_PROP_SUBSCRIPTION_ID]       = { "subscription-identifier",      VARINT, IN(PUBLISH) | IN(SUBSCRIBE), IN(PUBLISH), 1, WR_VARINT_MAX },
    [MQTT_PROP_SESSION_EXPIRY]        = { "session-expiry-interval",      FOUR,   IN_LOGIN | IN(DISCONNECT), 0,         0, ANY },
    [MQTT_PROP_ASSIGNED_CLIENT_ID]    = { "assigned-client-identifier",   STRING, IN(CONNACK),             0,           0, 0 },
    [MQTT_PROP_SERVER_KEEP_ALIVE]     = { "server-keep-alive",            TWO,    IN(CONNACK),             0,           0, 65535 },
    [MQTT_PROP_AUTH_METHOD]           = { "authentication-method",        STRING, IN_LOGIN | IN(AUTH),     0,           0, 0 },
    [MQTT_PROP_AUTH_DATA]             = { "authentication-data",          BINARY, IN_LOGIN | IN(AUTH),     0,           0, 0 },
    [MQTT_PROP_REQUEST_PROBLEM_INFO]  = { "request-problem-information",  BYTE,   IN(CONNECT),             0,           0, 1 },
    [MQTT_PROP_WILL_DELAY]            = { "will-delay-interval",          FOUR,   IN_WILL,                 0,           0, ANY },
    [MQTT_PROP_REQUEST_RESPONSE_INFO] = { "request-response-information", BYTE,   IN(CONNECT),             0,           0, 1 },
    [MQTT_PROP_RESPONSE_INFO]         = { "response-information",         STRING, IN(CONNACK),             0,           0, 0 },
    [MQTT_PROP_SERVER_REFERENCE]      = { "server-reference",             STRING, IN(CONNACK) | IN(DISCONNECT), 0,      0, 0 },
    [MQTT_PROP_REASON_STRING]         = { "reason-string",                STRING, IN_REASON,               0,           0, 0 },
    [MQTT_PROP_RECEIVE_MAXIMUM]       = { "receive-maximum",              TWO,    IN_LOGIN,                0,           1, 65535 },
    [MQTT_PROP_TOPIC_ALIAS_MAXIMUM]   = { "topic-alias-maximum",          TWO,    IN_LOGIN,                0,           0, 65535 },
    [MQTT_PROP_TOPIC_ALIAS]           = { "topic-alias",                  TWO,    IN(PUBLISH),             0,           1, 65535 },
    [MQTT_PROP_MAXIMUM_QOS]           = { "maximum-qos",                  BYTE,   IN(CONNACK),             0,           0, 1 },
    [MQTT_PROP_RETAIN_AVAILABLE]      = { "retain-available",             BYTE,   IN(CONNACK),             0,           0, 1 },
    [MQTT_PROP_USER_PROPERTY]         = { "user-property",                PAIR,   IN_ANY,                  IN_ANY,      0, 0 },
    [MQTT_PROP_MAXIMUM_PACKET_SIZE]   = { "maximum-packet-size",          FOUR,   IN_LOGIN,                0,           1, ANY },
    [MQTT_PROP_WILDCARD_AVAILABLE]    = { "wildcard-subscription-available", BYTE, IN(CONNACK),            0,           0, 1 },
    [MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE] = { "subscription-identifier-available", BYTE, IN(CONNACK),      0,           0, 1 },
    [MQTT_PROP_SHARED_AVAILABLE]      = { "shared-subscription-available", BYTE,  IN(CONNACK),             0,           0, 1 },
};
/* clang-format on */

#define ROWS (sizeof rows / sizeof rows[0])

/* Every identifier fits a bit of `seen`, and every one is below 128: its own encoding is one byte.
 */
_Static_assert(ROWS <= 64, "properties are kept as bits of 64");

static const struct row *row_of(uint32_t id)
{
    return id < ROWS && rows[id].kind != NONE ? &rows[id] : NULL;
}

static bool take_num(struct rd *r, enum kind kind, uint32_t *out)
{
    uint8_t u8 = 0;
    uint16_t u16 = 0;

    switch (kind) {
    case BYTE:
        if (!rd_u8(r, &u8))
            return false;
        *out = u8;
        return true;
    case TWO:
        if (!rd_u16(r, &u16))
            return false;
        *out = u16;
        return true;
    case FOUR:
        return rd_u32(r, out);
    case VARINT:
        return rd_varint(r, out);
    case STRING:
    case TOPIC:
    case BINARY:
    case PAIR:
    case NONE:
        break;
    }
    return false;
}

/* The value behind an identifier, unchecked but for its bounds. */
static bool take_value(struct rd *r, enum kind kind, struct mqtt_prop_value *v)
{
    switch (kind) {
    case STRING:
    case TOPIC:
    case BINARY:
        return rd_bin(r, &v->str);
    case PAIR:
        return rd_bin(r, &v->str) && rd_bin(r, &v->value);
    case BYTE:
    case TWO:
    case FOUR:
    case VARINT:
        return take_num(r, kind, &v->num);
    case NONE:
        break;
    }
    return false;
}

static const char *place_name(int where)
{
    return where == MQTT_PROPS_WILL ? "Will" : mqtt_type_name((enum mqtt_type)where);
}

/* What a value may be, its bounds in the packet being fine. */
static int check_value(const struct row *row, const struct mqtt_prop_value *v, int where,
                       uint8_t *reason, struct err *err)
{
    switch (row->kind) {
    case BYTE:
    case TWO:
    case FOUR:
    case VARINT:
        if (v->num < row->least || v->num > row->most)
            return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: property %s is %u, out of %u..%u",
                              place_name(where), row->name, v->num, row->least, row->most);
        return 0;
    case PAIR:
        if (!str_is_utf8(v->value.p, v->value.n))
            break;
        if (!str_is_utf8(v->str.p, v->str.n))
            break;
        return 0;
    case TOPIC:
        if (!str_is_utf8(v->str.p, v->str.n))
            break;
        if (!mqtt_topic_valid(v->str))
            return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                              "%s: response topic is empty or has wildcards [MQTT-3.3.2-14]",
                              place_name(where));
        return 0;
    case STRING:
        if (!str_is_utf8(v->str.p, v->str.n))
            break;
        return 0;
    case BINARY:
    case NONE:
        return 0;
    }
    return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: property %s is not UTF-8 [MQTT-1.5.4-1]",
                      place_name(where), row->name);
}

int mqtt_props_scan(struct mqtt_props props, int where, uint64_t *seen, uint8_t *reason,
                    struct err *err)
{
    uint64_t have = 0;
    struct rd r;

    *seen = 0;
    if (props.n == 0)
        return 0;
    r = rd_of(props.p, props.n);
    while (rd_left(&r) != 0) {
        struct mqtt_prop_value v = {.num = 0};
        const struct row *row;
        uint32_t id;
        int rc;

        if (!rd_varint(&r, &id))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: property identifier is cut short",
                              place_name(where));
        row = row_of(id);
        if (row == NULL || (row->places >> where & 1) == 0) /* 2.2.2.2 names the code */
            return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                              "%s: property %u (%s) has no place here", place_name(where), id,
                              row != NULL ? row->name : "unknown");
        if ((have >> id & 1) != 0 && (row->many >> where & 1) == 0)
            return mqtt_fault(reason, MQTT_R_PROTOCOL, err, "%s: property %s comes more than once",
                              place_name(where), row->name);
        have |= UINT64_C(1) << id;
        if (!take_value(&r, row->kind, &v))
            return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: property %s is cut short",
                              place_name(where), row->name);
        rc = check_value(row, &v, where, reason, err);
        if (rc != 0)
            return rc;
    }
    if ((have & MQTT_PROP_BIT(MQTT_PROP_AUTH_DATA)) != 0 &&
        (have & MQTT_PROP_BIT(MQTT_PROP_AUTH_METHOD)) == 0)
        return mqtt_fault(reason, MQTT_R_PROTOCOL, err,
                          "%s: authentication data without a method (3.1.2.11.10)",
                          place_name(where));
    *seen = have;
    return 0;
}

int mqtt_props_check(struct mqtt_props props, int where, uint8_t *reason, struct err *err)
{
    uint64_t seen;

    return mqtt_props_scan(props, where, &seen, reason, err);
}

bool mqtt_props_next(struct mqtt_props props, uint32_t *at, struct mqtt_prop_value *out)
{
    struct mqtt_prop_value v = {.num = 0};
    const struct row *row;
    const uint8_t *start;
    struct rd r;
    uint32_t id;

    if (*at >= props.n)
        return false;
    start = props.p + *at;
    r = rd_of(start, props.n - *at);
    if (!rd_varint(&r, &id))
        return false;
    row = row_of(id);
    if (row == NULL || !take_value(&r, row->kind, &v))
        return false;
    v.id = (enum mqtt_prop)id;
    v.raw = (struct slice){.p = start, .n = (size_t)(r.p - start)};
    *at += (uint32_t)v.raw.n;
    *out = v;
    return true;
}

bool mqtt_props_find(struct mqtt_props props, enum mqtt_prop id, struct mqtt_prop_value *out)
{
    struct mqtt_prop_value v;
    uint32_t at = 0;

    while (mqtt_props_next(props, &at, &v)) {
        if (v.id == id) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Room for `n` bytes at the end of b, as a cursor. */
static int put_open(struct wr *w, struct buf *b, size_t n)
{
    int rc = buf_reserve(b, n);

    if (rc != 0)
        return rc;
    *w = (struct wr){.p = b->p + b->len, .end = b->p + b->len + n};
    return 0;
}

int mqtt_props_put_num(struct buf *b, enum mqtt_prop id, uint32_t num)
{
    const struct row *row = row_of(id);
    struct wr w;
    int rc;

    assert(row != NULL && num >= row->least && num <= row->most);
    rc = put_open(&w, b, 5);
    if (rc != 0)
        return rc;
    wr_u8(&w, (uint8_t)id);
    if (row->kind == BYTE)
        wr_u8(&w, (uint8_t)num);
    else if (row->kind == TWO)
        wr_u16(&w, (uint16_t)num);
    else if (row->kind == FOUR)
        wr_u32(&w, num);
    else
        wr_varint(&w, num);
    b->len = (size_t)(w.p - b->p);
    return 0;
}

int mqtt_props_put_str(struct buf *b, enum mqtt_prop id, struct slice s)
{
    struct wr w;
    int rc;

    if (s.n > UINT16_MAX)
        return -ERR_TOO_BIG;
    rc = put_open(&w, b, 1 + wr_bin_bytes(s));
    if (rc != 0)
        return rc;
    wr_u8(&w, (uint8_t)id);
    wr_bin(&w, s);
    return wr_close(&w, b);
}

int mqtt_props_put_pair(struct buf *b, struct slice name, struct slice value)
{
    struct wr w;
    int rc;

    if (name.n > UINT16_MAX || value.n > UINT16_MAX)
        return -ERR_TOO_BIG;
    rc = put_open(&w, b, 1 + wr_bin_bytes(name) + wr_bin_bytes(value));
    if (rc != 0)
        return rc;
    wr_u8(&w, MQTT_PROP_USER_PROPERTY);
    wr_bin(&w, name);
    wr_bin(&w, value);
    return wr_close(&w, b);
}

const char *mqtt_prop_name(enum mqtt_prop id)
{
    const struct row *row = row_of(id);

    return row != NULL ? row->name : NULL;
}
