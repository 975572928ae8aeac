# Flags of every target: strict warnings, a fast linker, ccache, sanitizers on demand.
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor
  -Woverloaded-virtual -Werror
  # Every frame probes its pages, so a fiber that overflows its stack hits the guard (see runtime/fiber.cc).
  -fstack-clash-protection
  -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # ZEST_TRY declares after a check; designated initialisers leave the rest at their defaults.
  add_compile_options(-Wthread-safety -Wno-missing-designated-field-initializers -Wno-missing-field-initializers)
else()
  # g++ 12 warns about members that designated initialisers leave at their defaults.
  add_compile_options(-Wno-missing-field-initializers)
  # With -O2, g++ 12 sees overflows in inlined std::string and std::vector code that are not there (GCC bugs 105329,
  # 105651), and values behind std::optional and std::expected as uninitialised. ASan and UBSan find the real ones.
  add_compile_options(-Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread
    -Wno-maybe-uninitialized)
endif()

if(ZEST_SANITIZE)
  add_compile_options(-fsanitize=${ZEST_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ZEST_SANITIZE})
endif()
