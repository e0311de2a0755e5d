/* Packets pass through as they are.  Those that are whole in one read and need no change are passed
 * on together, straight from the buffer that they were decrypted into: one run, one TLS record, one
 * write.  What is kept beside them is only what a re-home needs (see session.h).
 */
#include "session/relay.h"

#include "mqtt/publish.h"
#include "session/dialect.h"

void run_send(struct run *run)
{
    if (run->n > 0 && run->to != NULL) {
        dialect_write(run->s, run->to, run->p, run->n);
        run->sent = true;
    }
    run->n = 0;
}

void run_pass(struct run *run, struct leg *to, const struct mqtt_packet *pkt)
{
    if (run->n > 0 && run->to == to && run->p + run->n == pkt->raw) {
        run->n += pkt->raw_bytes;
        return;
    }
    run_send(run);
    run->to = to;
    run->p = pkt->raw;
    run->n = pkt->raw_bytes;
}

void run_pass_as(struct session *s, struct run *run, struct leg *to, const struct mqtt_packet *pkt,
                 uint16_t id)
{
    struct buf out = {0};

    run_send(run);
    if (to != NULL && mqtt_packet_write_as(&out, pkt, id) == 0) {
        dialect_write(s, to, out.p, out.len);
        run->sent = true;
        if (to == s->down) {
            s->env->stats.packets_out++;
            s->env->stats.bytes_out += out.len;
        }
    }
    buf_fini(&out);
}

const char *relay_framing_fault(int rc, uint8_t *reason)
{
    *reason = rc == -ERR_TOO_BIG ? 0x95 : 0x81;
    return rc == -ERR_TOO_BIG ? "a packet larger than limits.packet_bytes"
                              : "bytes that are no MQTT packet";
}

void relay_ack(struct session *s, struct leg *leg, enum mqtt_type type, uint16_t packet_id)
{
    struct buf out = {0};

    if (mqtt_ack_write(&out, s->version, type, &(struct mqtt_ack){.packet_id = packet_id}) == 0)
        dialect_write(s, leg, out.p, out.len);
    buf_fini(&out);
}

void relay_answer(struct session *s, enum mqtt_type type, uint16_t packet_id)
{
    if (s->down != NULL)
        relay_ack(s, s->down, type, packet_id);
}

void relay_answer_ping(struct session *s)
{
    struct buf out = {0};

    if (s->down != NULL && mqtt_ping_write(&out, MQTT_PINGRESP) == 0)
        leg_write(s->down, out.p, out.len);
    buf_fini(&out);
}

void relay_ping_asked(struct session *s, bool ours)
{
    if (s->pings == 0)
        s->ping_since_ms = env_now_ms(s->env);
    if (ours)
        s->pings_ours |= (uint16_t)(1u << s->pings);
    s->pings++;
}

bool relay_ping(struct session *s)
{
    struct buf out = {0};

    if (s->up == NULL)
        return false;
    s->last_tx_up_ms = env_now_ms(s->env); /* tried: the next one is due later, in any case */
    if (s->pings >= 16)
        return false;
    relay_ping_asked(s, true);
    if (mqtt_ping_write(&out, MQTT_PINGREQ) == 0)
        leg_write(s->up, out.p, out.len);
    buf_fini(&out);
    leg_flush(s->up);
    return true;
}

void relay_answer_pings(struct session *s)
{
    for (; s->pings > 0; s->pings--, s->pings_ours >>= 1)
        if ((s->pings_ours & 1u) == 0)
            relay_answer_ping(s);
    s->pings_ours = 0;
    s->ping_since_ms = 0;
}
