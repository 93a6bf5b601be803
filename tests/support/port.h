/* port - TCP ports of 127.0.0.1 for servers that a test starts itself.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_PORT_H
#define SB_TESTS_SUPPORT_PORT_H

/* A port that nobody listens on, or fails the test. No other test is given it while this process lives, and
 * the system gives it to no connection: who binds it a while later, or again after a restart, finds it free.
 */
int sb_test_port(void);

#endif
