/* control/methods_crl.c - methods about lists of revoked certificates: see dispatch_inside.h and
 * rpc.h.
 */
#include <stdio.h>
#include <string.h>

#include "base/durable.h"
#include "control/crls.h"
#include "control/dispatch_inside.h"
#include "tls/crl.h"

static int update(struct call *c, const char *text, size_t n)
{
    struct crls_update u = {text, n, c->caller->who, call_flag(c, "force")};
    struct err err = {0};

    if (crls_update(c->d->hub, &u, &c->result, &err) != 0)
        return rpc_refuse(&c->fault, err.code == ERR_IO ? RPC_STORE : RPC_INVALID_PARAMS,
                          "nothing was changed: send the latest list of the CA", "crl: %s",
                          err.msg);
    snprintf(c->target, sizeof(c->target), "%s",
             json_string_value(json_object_get(c->result, "issuer")));
    if (u.force)
        call_note(c, "(forced)");
    return 0;
}

int do_crl_update(struct call *c)
{
    const char *text = call_text(c, "crl"), *file = call_text(c, "file");
    struct buf read = {0};
    struct err err = {0};
    int rc;

    if ((text == NULL) == (file == NULL))
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "crl or file must be given: the list itself, or where it lies");
    if (text != NULL)
        return update(c, text, strlen(text));
    snprintf(c->target, sizeof(c->target), "%s", file);
    if (c->caller->remember != NULL || file[0] != '/')
        return rpc_refuse(&c->fault, RPC_INVALID_PARAMS, NULL,
                          "file: must be an absolute path, and only who is at the gateway can name "
                          "one: send the list as crl");
    if (durable_read(file, CRL_FILE_BYTES, &read, &err) != 0)
        return rpc_refuse(
            &c->fault, RPC_INVALID_PARAMS,
            "make it readable for the daemon's user, or put it into a folder of crls, "
            "then: certflipctl reload",
            "%s", err.msg);
    rc = update(c, read.len == 0 ? "" : (const char *)read.p, read.len);
    buf_fini(&read);
    return rc;
}

int do_crl_list(struct call *c)
{
    c->result = json_pack("{s:o}", "crls", crls_rows(c->d->hub));
    return 0;
}
