// The program. Everything it does is declared in app.cc.
#include <string>
#include <utility>
#include <vector>

#include "zest/cli/command.h"
#include "zest/cli/meta_url.h"
#include "zest/cli/mount_helper.h"

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  zest::cli::hide_passwords(argc, argv);
  if (argc > 0 && zest::cli::called_by_mount(argv[0])) {
    arguments = zest::cli::translate_mount(arguments, zest::cli::mount_flag_of());
  }
  return zest::cli::run(std::move(arguments));
}
