/* What is said to the broker in CONNECT and DISCONNECT, and to the device in CONNACK: the device's
 * own words, but for the templates of its profile and for the session state that a flip needs (see
 * session.h, enum session_clear).
 */
#include "session/greet.h"
#include "session/dialect.h"

#include <string.h>

#include "base/map.h"

/* How long the upstream session of a 5.0 device outlives its connection, whatever the device asked
 * for: long enough for a flip or a short outage, short enough to leave no litter. */
#define KEEP_EXPIRY_S 600u

static int template_or_own(const struct session *s, const char *template,
                           const struct match_facts *facts, bool has_own, struct slice own,
                           struct buf *out, bool *has)
{
    *has = has_own;
    if (template == NULL)
        return buf_append(out, own.p, own.n);
    int rc = match_template(template, facts, s->dev->name, s->snap->conf->gateway, out);
    *has = out->len > 0;
    return rc;
}

static int copy_props(struct buf *out, struct mqtt_props in, enum mqtt_prop but)
{
    struct mqtt_prop_value v;
    uint32_t at = 0;
    int rc = 0;

    while (rc == 0 && mqtt_props_next(in, &at, &v))
        if (v.id != but)
            rc = buf_append(out, v.raw.p, v.raw.n);
    return rc;
}

/* The session state that the leg begins with: the device's wish the first time, the broker's memory
 * later. */
static int session_wish(const struct session *s, struct mqtt_connect *c, bool keep, bool wipe,
                        struct buf *props)
{
    bool again = s->state == SESSION_RELAYING;

    if (wipe) {
        c->clean = true;
        c->has_will = c->has_will && s->will_quiet;
    } else if (c->version == MQTT_V5) {
        c->clean = c->clean && !again;
    } else if (keep) {
        c->clean = false;
    }
    if (c->version != MQTT_V5)
        return 0;
    uint32_t expiry = s->device_expiry_s;
    if (wipe)
        expiry = 0;
    else if (keep && expiry < KEEP_EXPIRY_S && !s->will_stays) /* the Will waits for its end */
        expiry = KEEP_EXPIRY_S;
    int rc = copy_props(props, c->props, MQTT_PROP_SESSION_EXPIRY);
    if (rc == 0 && expiry > 0)
        rc = mqtt_props_put_num(props, MQTT_PROP_SESSION_EXPIRY, expiry);
    c->props = (struct mqtt_props){props->p, (uint32_t)props->len};
    return rc;
}

int greet_facts(const struct session *s, struct mqtt_connect *c, struct match_facts *facts)
{
    struct mqtt_packet pkt;
    uint32_t need;
    uint8_t reason;

    if (mqtt_packet_peek(s->connect, s->connect_bytes, MQTT_LARGEST_PACKET, &pkt, &need) != 1 ||
        mqtt_connect_read(&pkt, c, &reason, NULL) != 0)
        return -ERR_MALFORMED; /* it was read before */
    *facts = (struct match_facts){
        .listener = s->listener,
        .cn = s->cn,
        .sans = (const char *const *)&s->san,
        .san_count = s->san != NULL,
        .client_id = c->client_id,
        .has_username = c->has_username,
        .username = c->username,
        .has_password = c->has_password,
        .password = c->password,
    };
    return 0;
}

/* What 5.0 has beyond the words of a 3.x device, and topics with their prefix. */
static int translate(const struct session *s, const struct dialect *d, struct mqtt_connect *c,
                     struct buf *props, struct buf *will_topic, struct buf *will_props)
{
    uint32_t inflight = s->snap->conf->limits.inflight;
    int rc = 0;

    if (d == NULL)
        return 0;
    if (d->out.to != c->version) {
        c->version = d->out.to;
        c->bridge = false; /* a mark of 3.x's level byte */
        if (inflight < UINT16_MAX)
            rc = mqtt_props_put_num(props, MQTT_PROP_RECEIVE_MAXIMUM, inflight);
    }
    if (rc != 0 || !c->has_will)
        return rc;
    rc = mqtt_convert_topic(will_topic, c->will_topic, d->out.prefix);
    if (rc == 0)
        rc = mqtt_convert_props(will_props, c->will_props, MQTT_TO_SERVER, d->out.prefix);
    c->will_topic = (struct slice){will_topic->p, will_topic->len};
    c->will_props = (struct mqtt_props){will_props->p, (uint32_t)will_props->len};
    return rc;
}

/* While it lasts, a connection that goes on with the session keeps the Will quiet [MQTT-3.1.3-9];
 * the session lasts longer than that. */
static int delay_will(struct mqtt_connect *c, uint32_t delay_s, struct buf *props)
{
    int rc = copy_props(props, c->will_props, MQTT_PROP_WILL_DELAY);

    if (rc == 0)
        rc = mqtt_props_put_num(props, MQTT_PROP_WILL_DELAY, delay_s);
    c->will_props = (struct mqtt_props){props->p, (uint32_t)props->len};
    return rc;
}

static int put_client_id(const struct session *s, const struct conf_upstream *u,
                         const struct mqtt_connect *c, const struct match_facts *facts,
                         struct buf *out)
{
    size_t before = out->len;
    bool has;
    int rc = template_or_own(s, u->client_id, facts, true, c->client_id, out, &has);

    if (rc == 0 && out->len == before && s->assigned_id != NULL)
        rc = buf_append(out, s->assigned_id, strlen(s->assigned_id));
    return rc;
}

uint32_t greet_home(const struct session *s, enum flip_slot slot, enum greet_home what)
{
    const struct conf_upstream *u = upstream_profile(s, slot, NULL);
    struct buf where = {0};
    struct mqtt_connect c;
    struct match_facts facts;
    uint32_t home = 0;

    if (buf_printf(&where, "%s %u ", u->address, what == GREET_HOST ? 0u : u->port) == 0 &&
        greet_facts(s, &c, &facts) == 0 && put_client_id(s, u, &c, &facts, &where) == 0)
        home = (uint32_t)map_hash(where.p, where.len);
    buf_fini(&where);
    return home;
}

int greet_connect(const struct session *s, enum flip_slot slot, const struct dialect *dialect,
                  enum greet_aim aim, struct buf *out, struct greet_wish *wish)
{
    const struct conf_upstream *u = upstream_profile(s, slot, NULL);
    struct buf id = {0}, user = {0}, pass = {0}, props = {0};
    struct buf will_topic = {0}, will_props = {0}, delay = {0};
    struct mqtt_connect c;
    struct match_facts facts;
    int rc = greet_facts(s, &c, &facts);

    if (rc != 0)
        return rc;
    rc = put_client_id(s, u, &c, &facts, &id);
    if (rc == 0)
        rc = template_or_own(s, u->username, &facts, c.has_username, c.username, &user,
                             &c.has_username);
    if (rc == 0)
        rc = template_or_own(s, u->password, &facts, c.has_password, c.password, &pass,
                             &c.has_password);
    if (rc == 0)
        rc = translate(s, dialect, &c, &props, &will_topic, &will_props);
    if (c.will_qos > 2 - s->will_qos_off[slot])
        c.will_qos = (uint8_t)(2 - s->will_qos_off[slot]);
    c.will_retain = c.will_retain && !s->will_unretained[slot];
    /* 3.1.1 has no password without a user name [MQTT-3.1.2-22]; 5.0 allows it. */
    if (c.version != MQTT_V5 && !c.has_username)
        c.has_password = false;
    c.client_id = (struct slice){id.p, id.len};
    c.username = (struct slice){user.p, user.len};
    c.password = (struct slice){pass.p, pass.len};
    if (!u->keepalive_as_device)
        c.keepalive_s = (uint16_t)u->keepalive_s;
    /* Only a session with a name can be found again; 5.0 tells the name that it gives. */
    wish->keep = u->keep_session && (id.len > 0 || c.version == MQTT_V5);
    wish->keepalive_s = c.keepalive_s;
    wish->will_delayed = u->will_delay_s > 0 && c.has_will && c.version == MQTT_V5 && wish->keep &&
                         !s->will_stays && aim == GREET_GO_ON;
    if (rc == 0 && wish->will_delayed)
        rc = delay_will(&c, u->will_delay_s, &delay);
    if (rc == 0)
        rc = session_wish(s, &c, wish->keep, aim == GREET_WIPE, &props);
    if (rc == 0)
        rc = mqtt_connect_write(out, &c);
    buf_fini(&id);
    buf_fini(&user);
    buf_fini_wipe(&pass);
    buf_fini(&props);
    buf_fini(&will_topic);
    buf_fini(&will_props);
    buf_fini(&delay);
    return rc;
}

void greet_disconnect(struct leg *leg, uint8_t reason, bool set_expiry, uint32_t expiry_s)
{
    struct buf out = {0}, props = {0};
    struct mqtt_disconnect d = {.reason = reason};

    if (leg->version == MQTT_V5 && set_expiry &&
        mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, expiry_s) == 0)
        d.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    if (mqtt_disconnect_write(&out, leg->version, &d) == 0)
        leg_write(leg, out.p, out.len);
    buf_fini(&out);
    buf_fini(&props);
    leg_flush(leg);
}

int greet_device(struct session *s, const struct mqtt_connack *ack)
{
    struct buf out = {0}, props = {0};
    struct mqtt_connack mine = *ack;
    struct mqtt_prop_value v;
    int rc = 0;

    if (s->clean)
        mine.session_present = false;
    if (s->version == MQTT_V5) {
        rc = copy_props(&props, ack->props, MQTT_PROP_SESSION_EXPIRY);
        /* A broker that allows less than was asked for says so; more than the device asked for is
         * our affair. */
        if (rc == 0 && mqtt_props_find(ack->props, MQTT_PROP_SESSION_EXPIRY, &v) &&
            v.num < s->device_expiry_s)
            rc = mqtt_props_put_num(&props, MQTT_PROP_SESSION_EXPIRY, v.num);
        mine.props = (struct mqtt_props){props.p, (uint32_t)props.len};
    }
    if (rc == 0)
        rc = mqtt_connack_write(&out, s->version, &mine);
    if (rc == 0 && s->down != NULL)
        leg_write(s->down, out.p, out.len);
    buf_fini(&out);
    buf_fini(&props);
    return rc;
}

void greet_heard(struct session *s, struct leg *leg, const struct mqtt_connack *ack)
{
    struct mqtt_prop_value v;

    s->limits = leg->version == MQTT_V5 ? limits_of(ack->props) : limits_none;
    if (s->state == SESSION_OPENING)
        s->told = s->version == MQTT_V5 ? s->limits : limits_none;
    s->limited = limits_are_stricter(&s->limits, &s->told);
    if (leg->version != MQTT_V5)
        return;
    s->alias_most =
        mqtt_props_find(ack->props, MQTT_PROP_TOPIC_ALIAS_MAXIMUM, &v) ? (uint16_t)v.num : 0;
    if (s->state == SESSION_OPENING)
        s->alias_told = s->alias_most;
    if (mqtt_props_find(ack->props, MQTT_PROP_SERVER_KEEP_ALIVE, &v)) {
        leg->keepalive_s = (uint16_t)v.num;
        if (s->state == SESSION_OPENING && s->version == MQTT_V5)
            s->keepalive_s = (uint16_t)v.num; /* the device is told so [MQTT-3.1.2-21] */
    }
    if (mqtt_props_find(ack->props, MQTT_PROP_ASSIGNED_CLIENT_ID, &v) && s->assigned_id == NULL)
        s->assigned_id = strndup((const char *)v.str.p, v.str.n);
}
