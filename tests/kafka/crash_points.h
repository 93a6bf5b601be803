/* crash_points - a member that kills itself at a named point of its way from fetch to commit.
 *
 * The functions that an event passes on its way are wrapped by the linker (--wrap, see CMakeLists.txt), so
 * the program under test is the one that is shipped. MEMBER_CRASH=<point>:<before|after>:<n> kills the
 * process with SIGKILL at the nth passage.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_KAFKA_CRASH_POINTS_H
#define SB_TESTS_KAFKA_CRASH_POINTS_H

/* To be called from a handler, which needs no wrapping. */
void sb_test_crash_point(const char *point, const char *when);

#endif
