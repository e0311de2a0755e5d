/* mqtt/fault.c - where MQTT 5 reason codes (2.4) have a place, and the readers' way to refuse. */
#include "mqtt/fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "catalogue/catalogue.h"
#include "mqtt/connect.h"

#define CONNACK_    (1u << MQTT_CONNACK)
#define PUBACK_     (1u << MQTT_PUBACK | 1u << MQTT_PUBREC)
#define PUBREL_     (1u << MQTT_PUBREL | 1u << MQTT_PUBCOMP)
#define SUBACK_     (1u << MQTT_SUBACK)
#define UNSUBACK_   (1u << MQTT_UNSUBACK)
#define DISCONNECT_ (1u << MQTT_DISCONNECT)
#define AUTH_       (1u << MQTT_AUTH)

struct reason {
    unsigned to_server; /* packet types, as bits */
    unsigned to_client;
};

/* clang-format off */
static const struct reason reasons[] = {
    /*         from a client                    from a server */
    [0x00] = { PUBACK_ | PUBREL_ | DISCONNECT_, PUBACK_ | PUBREL_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ | AUTH_ },
    [0x01] = { 0,                               SUBACK_ },
    [0x02] = { 0,                               SUBACK_ },
    [0x04] = { DISCONNECT_,                     0 },
    [0x10] = { PUBACK_,                         PUBACK_ },
    [0x11] = { 0,                               UNSUBACK_ },
    [0x18] = { AUTH_,                           AUTH_ },
    [0x19] = { AUTH_,                           0 },
    [0x80] = { PUBACK_ | DISCONNECT_,           PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ },
    [0x81] = { DISCONNECT_,                     CONNACK_ | DISCONNECT_ },
    [0x82] = { DISCONNECT_,                     CONNACK_ | DISCONNECT_ },
    [0x83] = { PUBACK_ | DISCONNECT_,           PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ },
    [0x84] = { 0,                               CONNACK_ },
    [0x85] = { 0,                               CONNACK_ },
    [0x86] = { 0,                               CONNACK_ },
    [0x87] = { PUBACK_,                         PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ | UNSUBACK_ },
    [0x88] = { 0,                               CONNACK_ },
    [0x89] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0x8A] = { 0,                               CONNACK_ },
    [0x8B] = { 0,                               DISCONNECT_ },
    [0x8C] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0x8D] = { 0,                               DISCONNECT_ },
    [0x8E] = { 0,                               DISCONNECT_ },
    [0x8F] = { 0,                               SUBACK_ | UNSUBACK_ | DISCONNECT_ },
    [0x90] = { PUBACK_ | DISCONNECT_,           PUBACK_ | CONNACK_ | DISCONNECT_ },
    [0x91] = { PUBACK_,                         PUBACK_ | SUBACK_ | UNSUBACK_ },
    [0x92] = { PUBREL_,                         PUBREL_ },
    [0x93] = { DISCONNECT_,                     DISCONNECT_ },
    [0x94] = { DISCONNECT_,                     DISCONNECT_ },
    [0x95] = { DISCONNECT_,                     CONNACK_ | DISCONNECT_ },
    [0x96] = { DISCONNECT_,                     DISCONNECT_ },
    [0x97] = { PUBACK_ | DISCONNECT_,           PUBACK_ | DISCONNECT_ | CONNACK_ | SUBACK_ },
    [0x98] = { DISCONNECT_,                     DISCONNECT_ },
    [0x99] = { PUBACK_ | DISCONNECT_,           PUBACK_ | CONNACK_ | DISCONNECT_ },
    [0x9A] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0x9B] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0x9C] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0x9D] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0x9E] = { 0,                               SUBACK_ | DISCONNECT_ },
    [0x9F] = { 0,                               CONNACK_ | DISCONNECT_ },
    [0xA0] = { 0,                               DISCONNECT_ },
    [0xA1] = { 0,                               SUBACK_ | DISCONNECT_ },
    [0xA2] = { 0,                               SUBACK_ | DISCONNECT_ },
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
    const struct catalogue_row *row = catalogue_by_code(CATALOGUE_REASON, reason);

    if (row == NULL)
        return "unknown-reason";
    return row->also != NULL ? row->also
                             : row->word; /* the name of the standard, if there are two */
}
