#include "worker/msg.h"

#include <stdlib.h>

struct msg *msg_new(enum msg_kind kind)
{
    struct msg *m = calloc(1, sizeof *m);

    if (m == NULL)
        return NULL;
    list_init(&m->link);
    m->kind = kind;
    return m;
}

void msg_free(struct msg *m)
{
    if (m == NULL)
        return;
    if (m->kind == MSG_CONF)
        snapshot_unref(m->u.conf);
    if (m->kind == MSG_DEVICE) {
        cred_unref(m->u.dev.cred[FLIP_OLD]);
        cred_unref(m->u.dev.cred[FLIP_NEW]);
        presence_unref(m->u.dev.presence);
    }
    free(m);
}
