# tests/scenario/local.mk - whole programs against a real broker: make scenario.  And the demo.

EXTRA_DIST += \
	tests/scenario/pytest.ini \
	tests/scenario/adjtimex.c \
	tests/scenario/conftest.py \
	tests/scenario/lib/__init__.py \
	tests/scenario/data/plant.sh \
	tests/scenario/lib/broker.py \
	tests/scenario/lib/campaign.py \
	tests/scenario/lib/clock.py \
	tests/scenario/lib/documents.py \
	tests/scenario/lib/contract.py \
	tests/scenario/lib/browser.py \
	tests/scenario/lib/ejabberd.py \
	tests/scenario/lib/fleet.py \
	tests/scenario/lib/front.py \
	tests/scenario/lib/gateway.py \
	tests/scenario/lib/journal.py \
	tests/scenario/lib/link.py \
	tests/scenario/lib/machine.py \
	tests/scenario/lib/mqtt.py \
	tests/scenario/lib/packets.py \
	tests/scenario/lib/pki.py \
	tests/scenario/lib/plant.py \
	tests/scenario/lib/power.py \
	tests/scenario/lib/rough.py \
	tests/scenario/lib/screen.py \
	tests/scenario/lib/scripted.py \
	tests/scenario/lib/streams.py \
	tests/scenario/lib/tab.py \
	tests/scenario/lib/token.py \
	tests/scenario/lib/lsan.supp \
	tests/scenario/lib/tsan.supp \
	tests/scenario/lib/wait.py \
	tests/scenario/lib/web.py \
	tests/scenario/test_a_broker_allows_less.py \
	tests/scenario/test_a_broker_has_lost_the_session.py \
	tests/scenario/test_a_client_id_is_fought_over.py \
	tests/scenario/test_a_flip_leads_to_another_broker.py \
	tests/scenario/test_a_client_id_is_taken_over.py \
	tests/scenario/test_a_trial_needs_evidence.py \
	tests/scenario/test_catalogue_of_bad_candidates.py \
	tests/scenario/test_configuration_faults.py \
	tests/scenario/test_each_sensor_gets_its_chain.py \
	tests/scenario/test_ends_of_connections_and_wills.py \
	tests/scenario/test_every_command_shown_runs.py \
	tests/scenario/test_every_example_runs.py \
	tests/scenario/test_every_fleet_command_runs.py \
	tests/scenario/test_fleet_at_scale.py \
	tests/scenario/test_fleet_campaign.py \
	tests/scenario/test_fleet_campaign_interrupted.py \
	tests/scenario/test_fleet_link.py \
	tests/scenario/test_fleet_simulated_gateways.py \
	tests/scenario/test_flips_go_unnoticed.py \
	tests/scenario/test_full_and_failing_disks.py \
	tests/scenario/test_flips_on_bad_links.py \
	tests/scenario/test_hostile_input_costs_one_connection.py \
	tests/scenario/test_keys_at_rest.py \
	tests/scenario/test_keys_in_a_token.py \
	tests/scenario/test_identities_are_imported.py \
	tests/scenario/test_legs_speak_otherwise.py \
	tests/scenario/test_lists_come_at_run_time.py \
	tests/scenario/test_lint.py \
	tests/scenario/test_many_devices_at_once.py \
	tests/scenario/test_many_trials_and_an_outage.py \
	tests/scenario/test_metrics_and_health_over_http.py \
	tests/scenario/test_old_certificates_on_purpose.py \
	tests/scenario/test_packets_cut_anywhere.py \
	tests/scenario/test_packets_pass_unchanged.py \
	tests/scenario/test_poisoned_material_does_nothing.py \
	tests/scenario/test_power_cuts.py \
	tests/scenario/test_power_cuts_in_a_life.py \
	tests/scenario/test_refused_devices.py \
	tests/scenario/test_refused_identity_rolls_back.py \
	tests/scenario/test_reload.py \
	tests/scenario/test_restart_keeps_the_active_identity.py \
	tests/scenario/test_revoked_devices.py \
	tests/scenario/test_secrets_stay_inside.py \
	tests/scenario/test_signed_commands.py \
	tests/scenario/test_slow_sides_hold_back_the_fast.py \
	tests/scenario/test_stapled_ocsp.py \
	tests/scenario/test_the_api_over_http.py \
	tests/scenario/test_the_brokers_word_reaches_the_device.py \
	tests/scenario/test_the_centre_commands.py \
	tests/scenario/test_the_clock_is_wrong.py \
	tests/scenario/test_the_contract.py \
	tests/scenario/test_the_control_socket.py \
	tests/scenario/test_the_life_of_an_identity.py \
	tests/scenario/test_the_log.py \
	tests/scenario/test_the_manual_is_complete.py \
	tests/scenario/test_the_matrix_of_flips.py \
	tests/scenario/test_the_service_manager.py \
	tests/scenario/test_the_status_page.py \
	tests/scenario/test_the_uplink_is_lost.py \
	tests/scenario/test_watch.py \
	tests/scenario/test_who_is_believed_changes.py \
	tests/scenario/test_tls_sessions_are_never_resumed.py \
	tests/scenario/test_tls_versions_ciphers_and_keys.py \
	tests/scenario/test_wills_in_the_middle_of_flips.py \
	tests/scenario/test_words_are_completed.py \
	tests/demo/demo.py

# The bad link of lib/link.py.
EXTRA_PROGRAMS += tests/scenario/link
tests_scenario_link_SOURCES = tests/scenario/link.c

# A link of certflip-fleet by itself: test_fleet_link.py.
EXTRA_PROGRAMS += tests/scenario/fleet_link
tests_scenario_fleet_link_SOURCES = tests/scenario/fleet_link.c
tests_scenario_fleet_link_LDADD = $(fleet_libs)

demo: all
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) '$(top_srcdir)/tests/demo/demo.py' --build '$(abs_top_builddir)'

.PHONY: demo
