/* mqtt/fault.c - the table of MQTT 5 reason codes (2.4), and the readers' way to refuse. */
#include "mqtt/fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "mqtt/connect.h"

#define CONNACK_    (1u << MQTT_CONNACK)
#define PUBACK_     (1u << MQTT_PUBACK | 1u << MQTT_PUBREC)
#define PUBREL_     (1u << MQTT_PUBREL | 1u << MQTT_PUBCOMP)
#define SUBACK_     (1u << MQTT_SUBACK)
#define UNSUBACK_   (1u << MQTT_UNSUBACK)
#define DISCONNECT_ (1u << MQTT_DISCONNECT)
#define AUTH_       (1u << MQTT_AUTH)

struct reason {
    const char *name;
    unsigned to_server; /* packet types, as bits */
    unsigned to_client;
};

/* clang-format off */
static const struct reason reasons[] = {
    /*                                       from a client            from a server */
    [0x00] = { "success",                    PUBACK_ | PUBREL_ | DISCONNECT_,
               PUBACK_ | PUBREL_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ | AUTH_ },
    [0x01] = { "granted-qos-1",              0,                       SUBACK_ },
    [0x02] = { "granted-qos-2",              0,                       SUBACK_ },
    [0x04] = { "disconnect-with-will",       DISCONNECT_,             0 },
    [0x10] = { "no-matching-subscribers",    PUBACK_,                 PUBACK_ },
    [0x11] = { "no-subscription-existed",    0,                       UNSUBACK_ },
    [0x18] = { "continue-authentication",    AUTH_,                   AUTH_ },
    [0x19] = { "re-authenticate",            AUTH_,                   0 },
    [0x80] = { "unspecified-error",          PUBACK_ | DISCONNECT_,
               PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ },
    [0x81] = { "malformed-packet",           DISCONNECT_,             CONNACK_ | DISCONNECT_ },
    [0x82] = { "protocol-error",             DISCONNECT_,             CONNACK_ | DISCONNECT_ },
    [0x83] = { "implementation-specific-error", PUBACK_ | DISCONNECT_,
               PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ },
    [0x84] = { "unsupported-protocol-version", 0,                     CONNACK_ },
    [0x85] = { "client-identifier-not-valid", 0,                      CONNACK_ },
    [0x86] = { "bad-username-or-password",   0,                       CONNACK_ },
    [0x87] = { "not-authorized",             PUBACK_,
               PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ },
    [0x88] = { "server-unavailable",         0,                       CONNACK_ },
    [0x89] = { "server-busy",                0,                       CONNACK_ | DISCONNECT_ },
    [0x8A] = { "banned",                     0,                       CONNACK_ },
    [0x8B] = { "server-shutting-down",       0,                       DISCONNECT_ },
    [0x8C] = { "bad-authentication-method",  0,                       CONNACK_ | DISCONNECT_ },
    [0x8D] = { "keep-alive-timeout",         0,                       DISCONNECT_ },
    [0x8E] = { "session-taken-over",         0,                       DISCONNECT_ },
    [0x8F] = { "topic-filter-invalid",       0,                       SUBACK_ | UNSUBACK_ | DISCONNECT_ },
    [0x90] = { "topic-name-invalid",         PUBACK_ | DISCONNECT_,   PUBACK_ | CONNACK_ | DISCONNECT_ },
    [0x91] = { "packet-identifier-in-use",   PUBACK_,                 PUBACK_ | SUBACK_ | UNSUBACK_ },
    [0x92] = { "packet-identifier-not-found", PUBREL_,                PUBREL_ },
    [0x93] = { "receive-maximum-exceeded",   DISCONNECT_,             DISCONNECT_ },
    [0x94] = { "topic-alias-invalid",        DISCONNECT_,             DISCONNECT_ },
    [0x95] = { "packet-too-large",           DISCONNECT_,             CONNACK_ | DISCONNECT_ },
    [0x96] = { "message-rate-too-high",      DISCONNECT_,             DISCONNECT_ },
    [0x97] = { "quota-exceeded",             PUBACK_ | DISCONNECT_,
               PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ },
    [0x98] = { "administrative-action",      DISCONNECT_,             DISCONNECT_ },
    [0x99] = { "payload-format-invalid",     PUBACK_ | DISCONNECT_,   PUBACK_ | CONNACK_ | DISCONNECT_ },
    [0x9A] = { "retain-not-supported",       0,                       CONNACK_ | DISCONNECT_ },
    [0x9B] = { "qos-not-supported",          0,                       CONNACK_ | DISCONNECT_ },
    [0x9C] = { "use-another-server",         0,                       CONNACK_ | DISCONNECT_ },
    [0x9D] = { "server-moved",               0,                       CONNACK_ | DISCONNECT_ },
    [0x9E] = { "shared-subscriptions-not-supported", 0,               SUBACK_ | DISCONNECT_ },
    [0x9F] = { "connection-rate-exceeded",   0,                       CONNACK_ | DISCONNECT_ },
    [0xA0] = { "maximum-connect-time",       0,                       DISCONNECT_ },
    [0xA1] = { "subscription-identifiers-not-supported", 0,           SUBACK_ | DISCONNECT_ },
    [0xA2] = { "wildcard-subscriptions-not-supported", 0,             SUBACK_ | DISCONNECT_ },
};
/* clang-format on */

#define REASONS (sizeof reasons / sizeof reasons[0])

int mqtt_fault(uint8_t *reason, uint8_t code, struct err *err, const char *fmt, ...)
{
    enum err_code what = code == MQTT_R_MALFORMED ? ERR_MALFORMED : ERR_PROTOCOL;
    char msg[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    *reason = code;
    return err_set(err, what, "%s", msg);
}

int mqtt_open(const struct mqtt_packet *pkt, int version, struct rd *out, uint8_t *reason,
              struct err *err)
{
    if (version == MQTT_V5 && rd_length_is_overlong(pkt))
        return mqtt_fault(reason, MQTT_R_MALFORMED, err,
                          "%s: remaining length longer than needed [MQTT-1.5.5-1]",
                          mqtt_type_name(pkt->type));
    if (version != MQTT_V31 && pkt->type != MQTT_PUBLISH && (pkt->flags & 0x8) != 0)
        return mqtt_fault(reason, MQTT_R_MALFORMED, err, "%s: DUP is reserved [MQTT-2.2.2-2]",
                          mqtt_type_name(pkt->type));
    *out = rd_of(pkt->body, pkt->body_bytes);
    return 0;
}

bool mqtt_reason_allowed(uint8_t code, enum mqtt_type type, enum mqtt_dir dir)
{
    unsigned types;

    if (code >= REASONS)
        return false;
    types = dir == MQTT_TO_SERVER ? reasons[code].to_server : reasons[code].to_client;
    return (types >> type & 1) != 0;
}

const char *mqtt_reason_name(uint8_t reason)
{
    if (reason >= REASONS || reasons[reason].name == NULL)
        return "unknown-reason";
    return reasons[reason].name;
}
