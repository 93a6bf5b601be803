# libsagabus: the rooms below the server as one library. `sagabus_core` is the static form with every
# internal symbol, for our own binaries and tests; `sagabus` is what users link.
add_library(sagabus_core STATIC $<TARGET_OBJECTS:sb_base> $<TARGET_OBJECTS:sb_migrations>
            $<TARGET_OBJECTS:sb_events> $<TARGET_OBJECTS:sb_bus> $<TARGET_OBJECTS:sb_saga>)
target_link_libraries(sagabus_core PUBLIC sb_base sb_migrations sb_events sb_bus sb_saga)

add_library(sagabus SHARED $<TARGET_OBJECTS:sb_base> $<TARGET_OBJECTS:sb_migrations>
            $<TARGET_OBJECTS:sb_events> $<TARGET_OBJECTS:sb_bus> $<TARGET_OBJECTS:sb_saga>)
target_link_libraries(sagabus PRIVATE sb_options Threads::Threads PkgConfig::LIBPQ PkgConfig::RDKAFKA
                      PkgConfig::JANSSON PkgConfig::UUID PkgConfig::CURL PkgConfig::OPENSSL)
target_include_directories(sagabus INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(sagabus PROPERTIES VERSION ${PROJECT_VERSION}
                      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

configure_file(${CMAKE_CURRENT_LIST_DIR}/sagabus.pc.in ${PROJECT_BINARY_DIR}/sagabus.pc @ONLY)
install(TARGETS sagabus EXPORT sagabusTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/sagabus DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/sagabus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(EXPORT sagabusTargets NAMESPACE sagabus:: FILE sagabusConfig.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sagabus)
