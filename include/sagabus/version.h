/* version - the release this header belongs to. CMake reads the numbers from here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_VERSION_H
#define SAGABUS_VERSION_H

#define SB_VERSION_MAJOR 0
#define SB_VERSION_MINOR 1
#define SB_VERSION_PATCH 0
#define SB_VERSION       "0.1.0"

#endif
