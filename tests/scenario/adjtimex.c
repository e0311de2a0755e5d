/* A kernel that says of the clock what the file $CERTFLIP_TEST_SYNC says: "yes", "no", or nothing
 * at all.  For LD_PRELOAD. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

int adjtimex(struct timex *tx)
{
    const char *path = getenv("CERTFLIP_TEST_SYNC");
    FILE *f = path == NULL ? NULL : fopen(path, "re");
    char word[16] = "";

    if (f != NULL) {
        (void)fscanf(f, "%15s", word);
        (void)fclose(f);
    }
    if (strcmp(word, "yes") == 0) {
        tx->status = STA_PLL;
        tx->maxerror = 4000;
        return TIME_OK;
    }
    if (strcmp(word, "no") == 0) {
        tx->status = STA_UNSYNC;
        return TIME_ERROR;
    }
    errno = EPERM;
    return -1;
}
