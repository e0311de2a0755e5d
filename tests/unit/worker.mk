check_PROGRAMS += tests/unit/test_worker_worker

tests_unit_test_worker_worker_SOURCES = tests/unit/test_worker_worker.c $(session_world)
tests_unit_test_worker_worker_LDADD = libworker.a $(session_test_ldadd)
