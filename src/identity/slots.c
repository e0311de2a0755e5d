#include "identity/slots.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

/* 1: there; 0: not; negative: nobody can tell, and err says why. */
static int is_there(const char *path, struct err *err)
{
    struct stat st;

    if (stat(path, &st) == 0)
        return 1;
    if (errno == ENOENT || errno == ENOTDIR)
        return 0;
    return err_errno(err, errno, "%s: cannot look at it, check the modes of the folders above it",
                     path);
}

/* When the request was made; 0: there is none. */
static int64_t csr_since_s(const char *folder)
{
    char *path = str_printf("%s/csr.pem", folder);
    struct stat st;
    int64_t since_s = 0;

    if (path != NULL && stat(path, &st) == 0)
        since_s = st.st_mtim.tv_sec > 0 ? st.st_mtim.tv_sec : 1;
    free(path);
    return since_s;
}

static int load_files(const char *folder, const char *chain, const char *cert, const char *key,
                      const char *uri, struct cred **cred, int64_t *waits_since_s,
                      struct err *fault)
{
    int has_chain = is_there(chain, fault);
    int has_cert = has_chain < 0 ? 0 : is_there(cert, fault);
    int has_key = has_chain < 0 || has_cert < 0 ? 0 : is_there(key, fault);
    int has_uri = has_chain < 0 || has_cert < 0 || has_key < 0 ? 0 : is_there(uri, fault);

    if (has_chain < 0 || has_cert < 0 || has_key < 0 || has_uri < 0)
        return 1; /* something is there, and out of reach */
    if (has_key + has_uri == 2) {
        err_set(fault, ERR_EXISTS, "%s: holds both key.pem and key.uri: keep one of them", folder);
        return 1;
    }
    if (has_uri != 0) { /* names a key in a token, in the place of key.pem */
        key = uri;
        has_key = 1;
    }
    if (has_chain + has_cert + has_key == 0)
        return 0;
    if (has_key != 0 && has_chain + has_cert == 0 && (*waits_since_s = csr_since_s(folder)) != 0)
        return 0;
    if (has_key == 0)
        err_set(fault, ERR_NOT_FOUND, "%s: is missing: put the private key of %s there", key,
                has_chain != 0 ? "chain.pem" : "cert.pem");
    else if (has_chain + has_cert == 0)
        err_set(fault, ERR_NOT_FOUND,
                "%s: is missing: put the certificate of key.pem there, and its "
                "intermediates",
                chain);
    else if (has_chain + has_cert == 2)
        err_set(fault, ERR_EXISTS, "%s: holds both chain.pem and cert.pem: keep one of them",
                folder);
    else
        *cred = cred_load(has_chain != 0 ? chain : cert, key, fault);
    return 1;
}

static void load_slot(const char *identities_dir, const char *device, enum flip_slot slot,
                      struct slots *s)
{
    struct err *fault = &s->fault[slot];
    char *folder = str_printf("%s/%s/%s", identities_dir, device, flip_slot_name(slot));
    char *chain = folder == NULL ? NULL : str_printf("%s/chain.pem", folder);
    char *cert = folder == NULL ? NULL : str_printf("%s/cert.pem", folder);
    char *key = folder == NULL ? NULL : str_printf("%s/key.pem", folder);
    char *uri = folder == NULL ? NULL : str_printf("%s/key.uri", folder);

    if (chain == NULL || cert == NULL || key == NULL || uri == NULL)
        err_set(fault, ERR_NOMEM, "out of memory");
    else
        s->present[slot] = load_files(folder, chain, cert, key, uri, &s->cred[slot],
                                      &s->csr_since_s[slot], fault) != 0;
    if (fault->code != 0)
        err_wrap(fault, -fault->code, "device %s: %s identity", device, flip_slot_name(slot));
    free(folder);
    free(chain);
    free(cert);
    free(key);
    free(uri);
}

int slots_load(const char *identities_dir, const char *device, struct slots *out, struct err *err)
{
    struct slots s = {0};
    struct stat st;
    char *folder;
    int rc = 0;

    if (!str_is_name(device))
        return err_set(
            err, ERR_NOT_FOUND,
            "\"%s\" is not a device's name: 1 to 128 of A-Z a-z 0-9 . _ -, not beginning "
            "with . or -",
            device);
    folder = str_printf("%s/%s", identities_dir, device);
    if (folder == NULL)
        return err_set(err, ERR_NOMEM, "device %s: out of memory", device);
    if (stat(folder, &st) != 0)
        rc = err_set(err, ERR_NOT_FOUND,
                     "device %s: %s: %s: make the folder, with old/chain.pem and "
                     "old/key.pem in it",
                     device, folder,
                     errno == EACCES ? "permission denied" : "there is no such folder");
    else if (!S_ISDIR(st.st_mode))
        rc = err_set(err, ERR_NOT_FOUND, "device %s: %s: is not a folder", device, folder);
    free(folder);
    if (rc != 0)
        return rc;
    load_slot(identities_dir, device, FLIP_OLD, &s);
    load_slot(identities_dir, device, FLIP_NEW, &s);
    *out = s;
    return 0;
}

void slots_fini(struct slots *s)
{
    cred_unref(s->cred[FLIP_OLD]);
    cred_unref(s->cred[FLIP_NEW]);
    *s = (struct slots){0};
}

/* -- all of them
 * ----------------------------------------------------------------------------------------- */

static int is_visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_folder(const char *above, const struct dirent *e)
{
    struct stat st;
    char *path;
    bool yes;

    if (e->d_type == DT_DIR)
        return true;
    if (e->d_type != DT_LNK && e->d_type != DT_UNKNOWN)
        return false;
    path = str_printf("%s/%s", above, e->d_name);
    yes = path != NULL && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    free(path);
    return yes;
}

int slots_scan(const char *identities_dir, int (*each)(void *arg, const char *device), void *arg,
               struct err *err)
{
    struct dirent **entries = NULL;
    unsigned strange = 0;
    char first[64] = "";
    int count = 0;
    int rc = 0;
    int n = scandir(identities_dir, &entries, is_visible, by_bytes);

    if (n < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND,
                       "%s: there is no such folder: make it, with one folder for each device",
                       identities_dir);
    if (n < 0)
        return err_errno(err, errno, "%s: cannot read the folder of identities", identities_dir);
    for (int i = 0; i < n; i++) {
        if (rc >= 0 && is_folder(identities_dir, entries[i])) {
            if (str_is_name(entries[i]->d_name)) {
                rc = each(arg, entries[i]->d_name);
                count++;
            } else if (strange++ == 0) {
                snprintf(first, sizeof(first), "%.63s", entries[i]->d_name);
            }
        }
        free(entries[i]);
    }
    free(entries);
    if (rc < 0)
        return rc;
    if (strange > 0)
        err_set(
            err, ERR_INVALID,
            "%s: %u folders were passed over, \"%s\" first: a device's name has 1 to 128 of A-Z "
            "a-z 0-9 . _ -, not beginning with . or -",
            identities_dir, strange, first);
    return count;
}
