// Files that a test lets the library write.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

inline std::string contents(const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

/// A path of this process alone.
inline std::string temporary(const std::string& name) {
    const char* const folder = std::getenv("TEST_TMPDIR");
    return std::string(folder != nullptr ? folder : "/tmp") + "/" + name + "." +
           std::to_string(::getpid());
}
