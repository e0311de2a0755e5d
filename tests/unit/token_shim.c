/* token_shim.c - a PKCS#11 module that passes everything on to the one that TOKEN_SHIM_MODULE
 * names, and is slow or fails when a test says so, by files in the folder TOKEN_SHIM_DIR:
 *
 *   block     C_Sign waits until this is gone, and makes `blocked` meanwhile
 *   rv        holds a number: what C_SignInit, C_OpenSession and C_GetSlotList return (CK_RV)
 *   once      the same for the next C_SignInit alone, which takes the file away
 *   spoil     C_Sign returns a signature that is wrong
 *   no-raw    there is no CKM_RSA_X_509
 *   signs, logins   get one byte for each C_Sign and C_Login
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/pkcs11.h>

static CK_FUNCTION_LIST real, shim;

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out);

static const char *file(char *path, const char *name)
{
    snprintf(path, 256, "%s/%s", getenv("TOKEN_SHIM_DIR"), name);
    return path;
}

static int is_there(const char *name)
{
    char path[256];

    return access(file(path, name), F_OK) == 0;
}

static void count(const char *name)
{
    char path[256];
    int fd = open(file(path, name), O_WRONLY | O_CREAT | O_APPEND, 0600);

    if (fd >= 0 && write(fd, "x", 1) == 1)
        close(fd);
}

static CK_RV told(const char *name)
{
    char path[256], text[32] = "";
    FILE *f = fopen(file(path, name), "r");

    if (f == NULL)
        return CKR_OK;
    if (fgets(text, sizeof(text), f) == NULL)
        text[0] = '\0';
    fclose(f);
    return strtoul(text, NULL, 0);
}

static CK_RV sign_init(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
    char path[256];
    CK_RV rv = told("once");

    if (rv != CKR_OK)
        unlink(file(path, "once"));
    else
        rv = told("rv");
    return rv != CKR_OK ? rv : real.C_SignInit(s, m, key);
}

static CK_RV sign(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out, CK_ULONG_PTR m)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    char path[256];
    CK_RV rv;

    count("signs");
    if (is_there("block")) {
        count("blocked");
        while (is_there("block"))
            nanosleep(&moment, NULL);
        unlink(file(path, "blocked"));
    }
    rv = real.C_Sign(s, in, n, out, m);
    if (rv == CKR_OK && is_there("spoil"))
        out[*m / 2] ^= 1;
    return rv;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR app, CK_NOTIFY notify,
                          CK_SESSION_HANDLE_PTR out)
{
    CK_RV rv = told("rv");

    return rv != CKR_OK ? rv : real.C_OpenSession(slot, flags, app, notify, out);
}

static CK_RV get_slots(CK_BBOOL present, CK_SLOT_ID_PTR list, CK_ULONG_PTR n)
{
    CK_RV rv = told("rv");

    return rv != CKR_OK ? rv : real.C_GetSlotList(present, list, n);
}

static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG n)
{
    count("logins");
    return real.C_Login(s, user, pin, n);
}

static CK_RV mechanisms(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR list, CK_ULONG_PTR n)
{
    CK_RV rv = real.C_GetMechanismList(slot, list, n);

    for (CK_ULONG i = 0; rv == CKR_OK && list != NULL && i < *n && is_there("no-raw"); i++)
        if (list[i] == CKM_RSA_X_509)
            list[i] = 0x80000000;
    return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out)
{
    void *module = dlopen(getenv("TOKEN_SHIM_MODULE"), RTLD_NOW | RTLD_LOCAL);
    CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR);
    CK_FUNCTION_LIST_PTR list;
    void *symbol;
    CK_RV rv;

    if (module == NULL || (symbol = dlsym(module, "C_GetFunctionList")) == NULL)
        return 0x5; /* CKR_GENERAL_ERROR */
    memcpy(&get, &symbol, sizeof(get));
    rv = get(&list);
    if (rv != CKR_OK)
        return rv;
    real = shim = *list;
    shim.C_SignInit = sign_init;
    shim.C_Sign = sign;
    shim.C_OpenSession = open_session;
    shim.C_GetSlotList = get_slots;
    shim.C_Login = login;
    shim.C_GetMechanismList = mechanisms;
    *out = &shim;
    return CKR_OK;
}
