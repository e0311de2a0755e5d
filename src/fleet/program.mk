# The commands that need no campaign, and what an operator reads of the program.
libfleet_a_SOURCES += \
	src/fleet/command.c \
	src/fleet/doctor.c src/fleet/doctor.h src/fleet/doctor_judge.c \
	src/fleet/gather.c src/fleet/gather.h \
	src/fleet/inventory.c src/fleet/inventory.h

dist_man_MANS += src/fleet/certflip-fleet.1
dist_bashcompletion_DATA += packaging/completion/certflip-fleet
