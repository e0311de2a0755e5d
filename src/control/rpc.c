/* control/rpc.c - the tables of rpc.h: methods and errors. */
#include "control/rpc.h"

#include <string.h>

struct method_row {
    const char *name;
    enum rpc_access access;
    const char *params, *help;
};

#define ROW(id, name, access, params, help) [id##_METHOD] = {name, access, params, help},
static const struct method_row methods[RPC_METHOD_COUNT] = {RPC_METHODS(ROW)};
#undef ROW

struct error_row {
    int code;
    const char *name;
};

#define ROW(id, code, name) {code, name},
static const struct error_row errors[] = {RPC_ERRORS(ROW)};
#undef ROW

const char *rpc_method_name(enum rpc_method m)
{
    return methods[m].name;
}

const char *rpc_method_params(enum rpc_method m)
{
    return methods[m].params;
}

const char *rpc_access_name(enum rpc_access access)
{
    static const char *const names[] = {
        [RPC_OBSERVE] = "observe", [RPC_OPERATE] = "operate", [RPC_TRUST] = "trust"};

    return names[access];
}

const char *rpc_method_help(enum rpc_method m)
{
    return methods[m].help;
}

enum rpc_access rpc_method_access(enum rpc_method m)
{
    return methods[m].access;
}

int rpc_method_find(const char *name)
{
    for (int m = 0; m < RPC_METHOD_COUNT; m++)
        if (strcmp(methods[m].name, name) == 0)
            return m;
    return -1;
}

const char *rpc_error_name(int code)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].code == code)
            return errors[i].name;
    return "unknown";
}
