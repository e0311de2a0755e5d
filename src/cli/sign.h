/* cli/sign.h - make a signed command, to be published on a gateway's cmd topic; without a daemon.
 */
#ifndef CLI_SIGN_H
#define CLI_SIGN_H

#include "cli/show.h"
#include "cli/words.h"

/* Write it: the compact form, or the flattened one with --json.  Returns 0, or a negative code with
 * err. */
int sign_command(const struct words_line *line, const struct show *out, struct err *err);

#endif
