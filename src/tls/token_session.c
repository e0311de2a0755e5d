/* Opens a token: its module, its slot, a session, a login.  All on the token's thread; what modules
 * there are is shared by all of them.
 */
#include "tls/token_inside.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define PIN_BYTES      256
#define MAX_SLOTS      256
#define MAX_MECHANISMS 512

struct module {
    struct list link;
    char *path;          /* owned */
    CK_FUNCTION_LIST *f; /* of the module */
};

static struct {
    pthread_mutex_t lock; /* guards the list, and C_Initialize */
    struct list list;
} modules = {.lock = PTHREAD_MUTEX_INITIALIZER, .list = {&modules.list, &modules.list}};

bool trouble_set(struct token_trouble *out, const char *what, const char *remedy, const char *fmt,
                 ...)
{
    va_list args;

    out->what = what;
    va_start(args, fmt);
    vsnprintf(out->text, sizeof(out->text), fmt, args);
    va_end(args);
    snprintf(out->remedy, sizeof(out->remedy), "%s", remedy);
    str_tidy(out->text);
    return false;
}

bool trouble_is_of_token(const struct token_trouble *trouble)
{
    static const char *const keys[] = {"no-key", "mismatch", "mechanism"};

    for (size_t i = 0; trouble->what != NULL && i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(trouble->what, keys[i]) == 0)
            return false;
    return trouble->what != NULL;
}

bool session_failed(const struct token *t, struct token_trouble *out, const char *call, CK_RV rv)
{
    char name[CK_NAME_BYTES];

    if (rv == CK_R_TOKEN_NOT_PRESENT || rv == CK_R_DEVICE_REMOVED)
        return trouble_set(out, "absent", "insert it again", "token %s: %s: %s", t->name, call,
                           ck_name(rv, name));
    return trouble_set(out, "failed", "look into the log of the token's module or service",
                       "token %s: %s: %s", t->name, call, ck_name(rv, name));
}

/* -- the module ------------------------------------------------------------------------------ */

static bool module_load(const struct token *t, CK_FUNCTION_LIST **out, struct token_trouble *why)
{
    static const char remedy[] = "install the token's PKCS#11 module, or correct tokens.module";
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;
    char name[CK_NAME_BYTES];
    struct module *m;
    void *object, *symbol;
    CK_RV rv;

    object = dlopen(t->module, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        return trouble_set(why, "module", remedy, "token %s: %.200s", t->name, dlerror());
    symbol = dlsym(object, "C_GetFunctionList");
    memcpy(&get, &symbol, sizeof(get)); /* ISO C knows no such conversion */
    if (get == NULL || get(out) != CKR_OK || *out == NULL) {
        dlclose(object);
        return trouble_set(why, "module", remedy, "token %s: %s: is no PKCS#11 module", t->name,
                           t->module);
    }
    rv = (*out)->C_Initialize(&args);
    if (rv != CKR_OK && rv != CK_R_ALREADY_INITIALIZED)
        return trouble_set(why, "module", "look at the module's own configuration and its rights",
                           "token %s: %s: C_Initialize: %s", t->name, t->module, ck_name(rv, name));
    m = calloc(1, sizeof(*m));
    if (m == NULL || (m->path = strdup(t->module)) == NULL) {
        free(m);
        return trouble_set(why, "failed", "find what uses the memory", "out of memory");
    }
    m->f = *out;
    list_add(&modules.list, &m->link);
    return true; /* it stays loaded: many do not survive to be unloaded */
}

static bool module_get(struct token *t, struct token_trouble *why)
{
    bool good = false;

    if (t->f != NULL)
        return true;
    pthread_mutex_lock(&modules.lock);
    list_for_each (it, &modules.list) {
        struct module *m = list_entry(it, struct module, link);

        if (!good && strcmp(m->path, t->module) == 0) {
            t->f = m->f;
            good = true;
        }
    }
    if (!good && !(good = module_load(t, &t->f, why)))
        t->f = NULL;
    pthread_mutex_unlock(&modules.lock);
    return good;
}

void session_modules_fini(void)
{
    while (!list_empty(&modules.list)) {
        struct module *m = list_entry(modules.list.next, struct module, link);

        list_del(&m->link);
        m->f->C_Finalize(NULL);
        free(m->path);
        free(m);
    }
}

/* -- the slot -------------------------------------------------------------------------------- */

/* Fixed-width fields are padded with blanks, by some with NULs. */
static void unpad(char out[33], const CK_UTF8CHAR *p, size_t n)
{
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\0'))
        n--;
    memcpy(out, p, n);
    out[n] = '\0';
    str_tidy(out);
}

static bool is_wanted(const struct token *t, const CK_TOKEN_INFO *info)
{
    char label[33], serial[33];

    unpad(label, info->label, sizeof(info->label));
    unpad(serial, info->serialNumber, sizeof(info->serialNumber));
    return (t->label == NULL || strcmp(t->label, label) == 0) &&
           (t->serial == NULL || strcmp(t->serial, serial) == 0);
}

static bool find_slot(struct token *t, CK_TOKEN_INFO *info, struct token_trouble *why)
{
    CK_SLOT_ID slots[MAX_SLOTS];
    CK_ULONG n = 0;
    unsigned found = 0;
    CK_RV rv;

    /* Only a call without a list looks anew what is inserted (PKCS#11 2.40, 5.5). */
    rv = t->f->C_GetSlotList(CK_TRUE_, NULL, &n);
    n = MAX_SLOTS;
    if (rv == CKR_OK)
        rv = t->f->C_GetSlotList(CK_TRUE_, slots, &n);
    if (rv != CKR_OK)
        return session_failed(t, why, "C_GetSlotList", rv);
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO one;

        if (t->f->C_GetTokenInfo(slots[i], &one) != CKR_OK || !is_wanted(t, &one))
            continue;
        if (found++ == 0) {
            t->slot = slots[i];
            *info = one;
        }
    }
    if (found > 1)
        return trouble_set(why, "absent", "tell them apart by tokens.serial",
                           "token %s: %u tokens of the module are called \"%s\"", t->name, found,
                           t->label == NULL ? "" : t->label);
    if (found == 1)
        return true;
    return trouble_set(why, "absent",
                       "insert it, or correct tokens.label and tokens.serial (pkcs11-tool -L lists "
                       "what the module has)",
                       "token %s: none of the module's %lu tokens has %s \"%s\"", t->name, n,
                       t->label != NULL ? "the label" : "the serial number",
                       t->label != NULL ? t->label : t->serial);
}

static void note_info(struct token *t, const CK_TOKEN_INFO *info)
{
    pthread_mutex_lock(&t->lock);
    unpad(t->status.label, info->label, sizeof(info->label));
    unpad(t->status.serial, info->serialNumber, sizeof(info->serialNumber));
    unpad(t->status.model, info->model, sizeof(info->model));
    pthread_mutex_unlock(&t->lock);
}

static void read_mechanisms(struct token *t)
{
    CK_MECHANISM_TYPE list[MAX_MECHANISMS];
    CK_ULONG n = MAX_MECHANISMS;

    t->can_ecdsa = t->can_rsa_raw = t->can_rsa_pkcs = false;
    if (t->f->C_GetMechanismList(t->slot, list, &n) != CKR_OK)
        return;
    for (CK_ULONG i = 0; i < n; i++) {
        t->can_ecdsa |= list[i] == CKM_ECDSA;
        t->can_rsa_raw |= list[i] == CKM_RSA_X_509;
        t->can_rsa_pkcs |= list[i] == CKM_RSA_PKCS_;
    }
}

/* -- the PIN --------------------------------------------------------------------------------- */

struct pin {
    CK_UTF8CHAR p[PIN_BYTES];
    CK_ULONG n;
};

#define PIN_REMEDY                                                             \
    "put the right PIN there (or touch it once the token's own was changed): " \
    "it is not tried again before, since tokens lock themselves"

static char *pin_path(const struct token *t)
{
    const char *folder = secure_getenv("CREDENTIALS_DIRECTORY");

    if (t->pin_file != NULL)
        return strdup(t->pin_file);
    return folder == NULL ? NULL : str_printf("%s/%s.pin", folder, t->name);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool pin_check(const struct token *t, const char *path, const struct stat *st,
                      struct token_trouble *why)
{
    if (!S_ISREG(st->st_mode) || st->st_size > PIN_BYTES)
        return trouble_set(why, "login", "put the PIN there, and nothing else",
                           "token %s: %.200s: is no file with a PIN", t->name, path);
    if ((st->st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return trouble_set(why, "login", "chmod 600 it",
                           "token %s: %.200s: a PIN with mode %03o: others may get at it", t->name,
                           path, (unsigned)(st->st_mode & 0777));
    if (t->pin_refused && is_same_file(st, &t->pin_file_was))
        return trouble_set(why, "login", PIN_REMEDY, "token %s: the PIN in %.160s was refused",
                           t->name, path);
    return true;
}

static bool pin_read(struct token *t, struct pin *pin, struct token_trouble *why)
{
    char *path = pin_path(t);
    struct stat st;
    ssize_t n = -1;
    bool good = false;
    int fd;

    if (path == NULL)
        return trouble_set(why, "login",
                           "set tokens.pin_file, or give the service the credential NAME.pin "
                           "(LoadCredential=)",
                           "token %s: there is no PIN", t->name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        trouble_set(why, "login", "put the PIN there, readable for the service alone",
                    "token %s: the file of its PIN cannot be read: %.200s", t->name, path);
    else if (pin_check(t, path, &st, why) && (n = read(fd, pin->p, sizeof(pin->p))) <= 0)
        trouble_set(why, "login", "put the PIN there", "token %s: %.200s: is empty", t->name, path);
    if (fd >= 0)
        close(fd);
    if (n > 0) {
        while (n > 0 && (pin->p[n - 1] == '\n' || pin->p[n - 1] == '\r'))
            n--;
        pin->n = (CK_ULONG)n;
        t->pin_file_was = st;
        good = true;
    }
    free(path);
    return good;
}

static bool login_failed(struct token *t, CK_RV rv, struct token_trouble *why)
{
    char name[CK_NAME_BYTES], *path;

    switch (rv) {
    case CK_R_PIN_INCORRECT:
    case CK_R_PIN_INVALID:
    case CK_R_PIN_LEN_RANGE:
        t->pin_refused = true;
        path = pin_path(t);
        trouble_set(why, "login", PIN_REMEDY,
                    "token %s: the PIN in %.160s was refused: C_Login: %s", t->name,
                    path == NULL ? "its file" : path, ck_name(rv, name));
        free(path);
        return false;
    case CK_R_PIN_LOCKED:
    case CK_R_PIN_EXPIRED:
    case CK_R_USER_PIN_NOT_INITIALIZED:
        t->pin_refused = true;
        return trouble_set(why, "login",
                           "have its PIN set again by the security officer (pkcs11-tool "
                           "--init-pin), then touch the file of the PIN",
                           "token %s: C_Login: %s", t->name, ck_name(rv, name));
    default:
        return session_failed(t, why, "C_Login", rv);
    }
}

static bool login(struct token *t, CK_USER_TYPE user, struct token_trouble *why)
{
    struct pin pin;
    bool good = pin_read(t, &pin, why);
    CK_RV rv;

    if (!good) {
        explicit_bzero(&pin, sizeof(pin));
        return false;
    }
    rv = t->f->C_Login(t->session, user, pin.p, pin.n);
    explicit_bzero(&pin, sizeof(pin));
    if (rv != CKR_OK && rv != CK_R_USER_ALREADY_LOGGED_IN)
        return login_failed(t, rv, why);
    t->pin_refused = false;
    return true;
}

bool session_authenticate(struct token *t, struct token_trouble *out)
{
    return login(t, CKU_CONTEXT_SPECIFIC, out);
}

/* Whoever opens it at the desk has more tries than we should take from them. */
static bool may_login(struct token *t, const CK_TOKEN_INFO *info, struct token_trouble *why)
{
    if ((info->flags & CKF_USER_PIN_LOCKED_) != 0)
        return login_failed(t, CK_R_PIN_LOCKED, why);
    if ((info->flags & CKF_USER_PIN_FINAL_TRY_) != 0)
        return trouble_set(why, "login",
                           "log in once by hand (pkcs11-tool --login --list-objects), so that it "
                           "counts from the beginning",
                           "token %s: one more wrong PIN would lock it", t->name);
    return true;
}

/* -- the session ----------------------------------------------------------------------------- */

void session_close(struct token *t)
{
    if (t->open)
        t->f->C_CloseSession(t->session); /* logs out with the last one */
    t->open = false;
}

bool session_open(struct token *t, struct token_trouble *out)
{
    CK_TOKEN_INFO info;
    CK_RV rv;

    if (t->open)
        return true;
    if (!module_get(t, out) || !find_slot(t, &info, out))
        return false;
    note_info(t, &info);
    rv = t->f->C_OpenSession(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
    if (rv != CKR_OK)
        return session_failed(t, out, "C_OpenSession", rv);
    t->open = true;
    t->epoch++;
    if ((info.flags & CKF_LOGIN_REQUIRED_) != 0 &&
        (!may_login(t, &info, out) || !login(t, CKU_USER, out))) {
        session_close(t);
        return false;
    }
    read_mechanisms(t);
    return true;
}
