/* tls/cryptoki.h - PKCS#11 2.40 (OASIS) as far as it is used here: the library brings the functions
 * and structs, and leaves most of the return values out.  Private to this folder.
 */
#ifndef TLS_CRYPTOKI_H
#define TLS_CRYPTOKI_H

#include "tls/wolf.h"

#include <wolfssl/wolfcrypt/pkcs11.h>

#define CK_FALSE_ 0
#define CK_TRUE_  1

#define CK_UNAVAILABLE (~0UL) /* CK_UNAVAILABLE_INFORMATION */

/* CK_TOKEN_INFO.flags */
#define CKF_LOGIN_REQUIRED_       0x00000004UL
#define CKF_USER_PIN_INITIALIZED_ 0x00000008UL
#define CKF_USER_PIN_FINAL_TRY_   0x00020000UL
#define CKF_USER_PIN_LOCKED_      0x00040000UL

#define CKM_RSA_PKCS_ 0x00000001UL

/* The return values that are told apart; the names of all are in cryptoki.c. */
enum {
    CK_R_HOST_MEMORY = 0x02,
    CK_R_DEVICE_ERROR = 0x30,
    CK_R_DEVICE_REMOVED = 0x32,
    CK_R_KEY_HANDLE_INVALID = 0x60,
    CK_R_MECHANISM_INVALID = 0x70,
    CK_R_MECHANISM_PARAM_INVALID = 0x71,
    CK_R_PIN_INCORRECT = 0xa0,
    CK_R_PIN_INVALID = 0xa1,
    CK_R_PIN_LEN_RANGE = 0xa2,
    CK_R_PIN_EXPIRED = 0xa3,
    CK_R_PIN_LOCKED = 0xa4,
    CK_R_SESSION_HANDLE_INVALID = 0xb3,
    CK_R_TOKEN_NOT_PRESENT = 0xe0,
    CK_R_TOKEN_NOT_RECOGNIZED = 0xe1,
    CK_R_USER_ALREADY_LOGGED_IN = 0x100,
    CK_R_USER_NOT_LOGGED_IN = 0x101,
    CK_R_USER_PIN_NOT_INITIALIZED = 0x102,
    CK_R_BUFFER_TOO_SMALL = 0x150,
    CK_R_ALREADY_INITIALIZED = 0x191,
};

/* "CKR_PIN_INCORRECT"; of what has no name here the number, in `buf`. */
#define CK_NAME_BYTES 32
const char *ck_name(CK_RV rv, char buf[CK_NAME_BYTES]);

#endif
