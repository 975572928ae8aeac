// Which sanitizer the file is compiled with, and its interface. Internal to the runtime.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define ZEST_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define ZEST_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(ZEST_ASAN)
#define ZEST_ASAN 1
#endif
#if __has_feature(thread_sanitizer) && !defined(ZEST_TSAN)
#define ZEST_TSAN 1
#endif
#endif

#ifdef ZEST_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef ZEST_TSAN
#include <sanitizer/tsan_interface.h>
#endif
