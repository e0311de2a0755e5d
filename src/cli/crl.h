/* cli/crl.h - the parameters of crl.update: a file as the daemon takes it. */
#ifndef CLI_CRL_H
#define CLI_CRL_H

#include <jansson.h>

#include "base/err.h"

/* The list in `path`: its text (PEM, or DER in base64) where one request holds it, else where it
 * lies.  Returns 0, or a negative code with err. */
int crl_params(const char *path, json_t *params, struct err *err);

#endif
