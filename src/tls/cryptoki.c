#include "tls/cryptoki.h"

#include <stdio.h>

struct ck_row {
    CK_RV rv;
    const char *name;
};

/* clang-format off */
static const struct ck_row rows[] = { /* PKCS#11 2.40, 5.1 */
    { 0x000, "CKR_OK" },
    { 0x001, "CKR_CANCEL" },
    { 0x002, "CKR_HOST_MEMORY" },
    { 0x003, "CKR_SLOT_ID_INVALID" },
    { 0x005, "CKR_GENERAL_ERROR" },
    { 0x006, "CKR_FUNCTION_FAILED" },
    { 0x007, "CKR_ARGUMENTS_BAD" },
    { 0x009, "CKR_NEED_TO_CREATE_THREADS" },
    { 0x00a, "CKR_CANT_LOCK" },
    { 0x010, "CKR_ATTRIBUTE_READ_ONLY" },
    { 0x011, "CKR_ATTRIBUTE_SENSITIVE" },
    { 0x012, "CKR_ATTRIBUTE_TYPE_INVALID" },
    { 0x013, "CKR_ATTRIBUTE_VALUE_INVALID" },
    { 0x01b, "CKR_ACTION_PROHIBITED" },
    { 0x020, "CKR_DATA_INVALID" },
    { 0x021, "CKR_DATA_LEN_RANGE" },
    { 0x030, "CKR_DEVICE_ERROR" },
    { 0x031, "CKR_DEVICE_MEMORY" },
    { 0x032, "CKR_DEVICE_REMOVED" },
    { 0x050, "CKR_FUNCTION_CANCELED" },
    { 0x054, "CKR_FUNCTION_NOT_SUPPORTED" },
    { 0x060, "CKR_KEY_HANDLE_INVALID" },
    { 0x062, "CKR_KEY_SIZE_RANGE" },
    { 0x063, "CKR_KEY_TYPE_INCONSISTENT" },
    { 0x068, "CKR_KEY_FUNCTION_NOT_PERMITTED" },
    { 0x070, "CKR_MECHANISM_INVALID" },
    { 0x071, "CKR_MECHANISM_PARAM_INVALID" },
    { 0x082, "CKR_OBJECT_HANDLE_INVALID" },
    { 0x090, "CKR_OPERATION_ACTIVE" },
    { 0x091, "CKR_OPERATION_NOT_INITIALIZED" },
    { 0x0a0, "CKR_PIN_INCORRECT" },
    { 0x0a1, "CKR_PIN_INVALID" },
    { 0x0a2, "CKR_PIN_LEN_RANGE" },
    { 0x0a3, "CKR_PIN_EXPIRED" },
    { 0x0a4, "CKR_PIN_LOCKED" },
    { 0x0b0, "CKR_SESSION_CLOSED" },
    { 0x0b1, "CKR_SESSION_COUNT" },
    { 0x0b3, "CKR_SESSION_HANDLE_INVALID" },
    { 0x0b5, "CKR_SESSION_READ_ONLY" },
    { 0x0b7, "CKR_SESSION_READ_ONLY_EXISTS" },
    { 0x0d0, "CKR_TEMPLATE_INCOMPLETE" },
    { 0x0d1, "CKR_TEMPLATE_INCONSISTENT" },
    { 0x0e0, "CKR_TOKEN_NOT_PRESENT" },
    { 0x0e1, "CKR_TOKEN_NOT_RECOGNIZED" },
    { 0x0e2, "CKR_TOKEN_WRITE_PROTECTED" },
    { 0x100, "CKR_USER_ALREADY_LOGGED_IN" },
    { 0x101, "CKR_USER_NOT_LOGGED_IN" },
    { 0x102, "CKR_USER_PIN_NOT_INITIALIZED" },
    { 0x103, "CKR_USER_TYPE_INVALID" },
    { 0x104, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN" },
    { 0x105, "CKR_USER_TOO_MANY_TYPES" },
    { 0x120, "CKR_RANDOM_SEED_NOT_SUPPORTED" },
    { 0x130, "CKR_DOMAIN_PARAMS_INVALID" },
    { 0x140, "CKR_CURVE_NOT_SUPPORTED" },
    { 0x150, "CKR_BUFFER_TOO_SMALL" },
    { 0x190, "CKR_CRYPTOKI_NOT_INITIALIZED" },
    { 0x191, "CKR_CRYPTOKI_ALREADY_INITIALIZED" },
    { 0x200, "CKR_FUNCTION_REJECTED" },
};
/* clang-format on */

const char *ck_name(CK_RV rv, char buf[CK_NAME_BYTES])
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].rv == rv)
            return rows[i].name;
    snprintf(buf, CK_NAME_BYTES, "CK_RV 0x%08lx", rv);
    return buf;
}
