# certflip.m4 - compiler flags, tried before they are used.

# CF_ADD_FLAGS(VARIABLE, FLAGS): append to VARIABLE each of FLAGS that the compiler takes.
AC_DEFUN([CF_ADD_FLAGS], [
  m4_foreach_w([cf_flag], [$2], [
    AS_VAR_PUSHDEF([cf_cache], [cf_cv_flag_[]cf_flag])
    AC_CACHE_CHECK([whether $CC takes cf_flag], [cf_cache], [
      cf_saved=$CFLAGS
      CFLAGS="-Werror cf_flag"
      AC_COMPILE_IFELSE([AC_LANG_PROGRAM()],
        [AS_VAR_SET([cf_cache], [yes])], [AS_VAR_SET([cf_cache], [no])])
      CFLAGS=$cf_saved
    ])
    AS_VAR_IF([cf_cache], [yes], [$1="$$1 cf_flag"])
    AS_VAR_POPDEF([cf_cache])
  ])
])

# CF_ADD_LINK_FLAGS(VARIABLE, FLAGS): the same for flags of the linker.
AC_DEFUN([CF_ADD_LINK_FLAGS], [
  m4_foreach_w([cf_flag], [$2], [
    AS_VAR_PUSHDEF([cf_cache], [cf_cv_link_[]cf_flag])
    AC_CACHE_CHECK([whether $CC links with cf_flag], [cf_cache], [
      cf_saved=$LDFLAGS
      LDFLAGS="$LDFLAGS cf_flag"
      AC_LINK_IFELSE([AC_LANG_PROGRAM()],
        [AS_VAR_SET([cf_cache], [yes])], [AS_VAR_SET([cf_cache], [no])])
      LDFLAGS=$cf_saved
    ])
    AS_VAR_IF([cf_cache], [yes], [$1="$$1 cf_flag"])
    AS_VAR_POPDEF([cf_cache])
  ])
])
